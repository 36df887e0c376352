import { route } from '#libs/contracts';
import type { FleetReplica } from '../fleet/fleet.ts';
import type { Answer } from './answer.ts';
import type { Asker } from './asker.ts';
import { Attempt, retryableEnd } from './attempt.ts';
import { cannotGoOn } from './continuation/of-request.ts';
import { responsesEndpoint } from './endpoints.ts';
import type { Handover } from './pd/handover.ts';
import type { Picked } from './picks.ts';
import type { Plane } from './plane.ts';
import type { Routed } from './routing.ts';

/** Picks, and writes into the request's account what that was and how long it took. */
export function pickFor(plane: Plane, asker: Asker, where: Routed, leftOut: readonly FleetReplica[]): Picked {
  const { account } = asker;
  const { clock } = plane.environment;
  const pickStartMs = clock.monotonicMs();
  const picked = plane.picks.pick(where, leftOut, pickStartMs);
  const pickedAtMs = clock.monotonicMs();
  account.pickUs += (pickedAtMs - pickStartMs) * 1000;
  account.pickedMs = pickedAtMs - asker.startMs;
  if (picked.captured !== undefined) account.picks.push(picked.captured);
  return picked;
}

/** An attempt on the replica picked last, counted from now on; on what another replica left of the request where there is a hand-over. */
export function attemptOn(
  plane: Plane,
  asker: Asker,
  where: Routed,
  replica: FleetReplica,
  matched: number,
  handover: Handover | undefined,
): Attempt {
  const { account, startMs } = asker;
  const nowMs = handover === undefined ? startMs + account.pickedMs : asker.nowMs();
  const flight = plane.picks.dispatched(where, replica, matched, account.stream, nowMs, handover?.part);
  plane.metrics.prefix(where.features.prefixBlocks, matched);
  const attempt = new Attempt(replica, Math.max(0, account.picks.length - 1), nowMs - startMs, flight);
  if (handover !== undefined) attempt.role = route.ReplicaRole.DECODE;
  attempt.handover = handover;
  return attempt;
}

/** Remembers who holds a response; false as long as its id is not told. */
export function rememberHolder(plane: Plane, { target, account }: Asker, attempt: Attempt, answer: Answer): boolean {
  if (target.endpoint !== responsesEndpoint) return false;
  const id = answer.responseId();
  if (id === '') return false;
  const { tenantId, model, choice } = account;
  plane.holders.remember(id, { replicaId: attempt.replica.id, model, asked: choice?.asked, tenantId });
  return true;
}

/** Why an answer of this status is none for the client; undefined where it is one. `goesOn`: the headers of one that is to go on with another. */
export function failedBy(
  { lead }: Asker,
  { replica, handover }: Attempt,
  status: number,
  goesOn: readonly string[] | undefined,
): route.AttemptEnd | undefined {
  const failed = retryableEnd(status, replica) ?? handover?.brokenBy(status);
  if (failed !== undefined || goesOn !== undefined) return failed ?? cannotGoOn(status, goesOn ?? []);
  // An engine's own 500 says nothing against its replica; a fallback may do better.
  return lead?.mends(status) === true ? route.AttemptEnd.ANSWERED : undefined;
}
