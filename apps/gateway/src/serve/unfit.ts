import { route } from '#libs/contracts';
import type { Answer } from './answer.ts';
import type { Asker } from './asker.ts';
import type { Attempt } from './attempt.ts';
import { engineDied } from './attempt.ts';
import { unsound } from './compat/aibrix.ts';
import type { Refusal } from './errors.ts';
import { startsWithError } from './pd/first-event.ts';
import type { Plane } from './plane.ts';

/** An answer that does not go to the client: what its attempt ended in. */
export interface Unfit {
  readonly end: route.AttemptEnd;
  readonly message: string;
  /** What the client is told if no other replica does better; by the end where it is not given. */
  readonly refusal?: Refusal;
  /** What stands for the engine's own status. */
  readonly status?: number;
}

const { AttemptEnd } = route;
const died: Unfit = { end: AttemptEnd.SERVER_ERROR, message: 'its engine core died' };
const failedAtOnce: Unfit = { end: AttemptEnd.TRANSFER_FAILED, message: 'its stream began with an error' };

/** Looks at the first bytes of an answer; undefined where they may go out. */
export function unfitToBegin(
  plane: Plane,
  { target }: Asker,
  attempt: Attempt,
  answer: Answer,
  chunk: Buffer,
): Unfit | undefined {
  if (engineDied(answer.status, chunk)) return died;
  if (attempt.handover !== undefined && startsWithError(chunk)) return failedAtOnce;
  return plane.compat ? unsound(target.endpoint, answer, chunk) : undefined;
}
