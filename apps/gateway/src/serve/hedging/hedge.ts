import { route } from '#libs/contracts';
import type { Attempt } from '../attempt.ts';
import { endOf, engineDied, retryableEnd } from '../attempt.ts';
import type { Caller, Failure } from '../upstream/connection.ts';

/** The request that may be answered twice. */
export interface HedgeOwner extends Caller {
  /** The second replica's first byte came first. From here on all that it says is told to the owner. */
  hedgeAnswers(hedge: Hedge): void;
  /** It has failed, and the first replica may still answer. */
  hedgeFailed(hedge: Hedge, end: route.AttemptEnd, message: string): void;
}

/** The second of two attempts: silent until its answer comes first, or the first attempt is over. */
export class Hedge implements Caller {
  /** It is the request's attempt at hand. */
  adopted = false;
  #head: { readonly status: number; readonly reason: string; readonly headers: readonly string[] } | undefined;

  constructor(
    private readonly owner: HedgeOwner,
    readonly attempt: Attempt,
  ) {}

  /** The owner takes it over as it stands. */
  adopt(): void {
    this.adopted = true;
    const head = this.#head;
    if (head !== undefined) this.owner.onHead(head.status, head.reason, head.headers);
  }

  onConnected(): void {
    if (this.adopted) this.owner.onConnected();
  }

  onHead(status: number, reason: string, headers: readonly string[]): void {
    if (this.adopted) {
      this.owner.onHead(status, reason, headers);
      return;
    }
    const failed = retryableEnd(status, this.attempt.replica);
    this.attempt.httpStatus = status;
    if (failed === undefined) this.#head = { status, reason, headers: [...headers] };
    else this.#fail(failed, `it answered ${status}`);
  }

  onBody(chunk: Buffer): void {
    if (!this.adopted) {
      // A refusal is no answer worth having while the first replica may still give one.
      if (this.attempt.httpStatus >= 400) {
        const died = engineDied(this.attempt.httpStatus, chunk);
        this.#fail(
          died ? route.AttemptEnd.SERVER_ERROR : route.AttemptEnd.ANSWERED,
          died ? 'its engine core died' : '',
        );
        return;
      }
      this.owner.hedgeAnswers(this);
    }
    if (this.adopted) this.owner.onBody(chunk);
  }

  onEnd(): void {
    if (!this.adopted) this.owner.hedgeAnswers(this);
    if (this.adopted) this.owner.onEnd();
  }

  onFailure(failure: Failure, message: string): void {
    if (this.adopted) this.owner.onFailure(failure, message);
    else this.#fail(endOf(failure), message);
  }

  onWritable(): void {
    if (this.adopted) this.owner.onWritable();
  }

  onFault(thrown: unknown): void {
    this.owner.onFault(thrown);
  }

  #fail(end: route.AttemptEnd, message: string): void {
    this.attempt.connection?.discard();
    this.owner.hedgeFailed(this, end, message);
  }
}
