import { route } from '#libs/contracts';
import type { Flight } from '#libs/latency-model';
import type { FleetReplica } from '../../fleet/fleet.ts';
import { Attempt, endOf, engineDied, retryableEnd } from '../attempt.ts';
import type { Caller, Failure } from '../upstream/connection.ts';
import { pdLimits } from './limits.ts';

const { AttemptEnd, ReplicaRole } = route;

/** Whoever waits for a prefill side. Told once, by one of the two. */
export interface LegHost {
  /** `answer` is undefined where the engine refused the request in its own words: there is nothing to take over. */
  prefilled(leg: PrefillLeg, answer: Buffer | undefined): void;
  prefillFailed(leg: PrefillLeg, end: route.AttemptEnd, why: string): void;
  /** The connection stands: what follows is the engine's time. */
  prefillConnected(leg: PrefillLeg): void;
  onFault(thrown: unknown): void;
}

/** The prompt of one request on its way through a prefill replica. Its answer is for the decode side, and small. */
export class PrefillLeg implements Caller {
  readonly attempt: Attempt;
  #chunks: Buffer[] = [];
  #bytes = 0;
  #resend: (() => void) | undefined;

  constructor(
    private readonly host: LegHost,
    prefill: FleetReplica,
    pick: number,
    startMs: number,
    flight: Flight,
  ) {
    this.attempt = new Attempt(prefill, pick, startMs, flight);
    this.attempt.role = ReplicaRole.PREFILL;
  }

  /** `resend` is called once where an idle connection turns out to be closed. */
  sent(resend: () => void): void {
    this.#resend = resend;
  }

  onConnected(): void {
    this.host.prefillConnected(this);
  }

  onHead(status: number): void {
    this.attempt.httpStatus = status;
    const failed = retryableEnd(status) ?? (status >= 500 ? AttemptEnd.SERVER_ERROR : undefined);
    if (failed === undefined) return;
    this.attempt.connection?.discard();
    this.host.prefillFailed(this, failed, `it answered ${status} to the prompt`);
  }

  onBody(chunk: Buffer): void {
    if (engineDied(this.attempt.httpStatus, chunk)) {
      this.attempt.connection?.discard();
      this.host.prefillFailed(this, AttemptEnd.SERVER_ERROR, 'its engine core died');
      return;
    }
    this.#bytes += chunk.length;
    if (this.#bytes > pdLimits.prefillAnswerBytesMax) {
      this.attempt.connection?.destroy();
      const why = `it answered more than ${pdLimits.prefillAnswerBytesMax} bytes to the prompt`;
      this.host.prefillFailed(this, AttemptEnd.BAD_ANSWER, why);
      return;
    }
    this.#chunks.push(Buffer.from(chunk));
  }

  onEnd(): void {
    const answer = Buffer.concat(this.#chunks);
    this.#chunks = [];
    this.host.prefilled(this, this.attempt.httpStatus < 400 ? answer : undefined);
  }

  onFailure(failure: Failure, message: string): void {
    const { attempt } = this;
    if (failure === 'reset' && attempt.connection?.stale === true && !attempt.reconnected && this.#resend) {
      attempt.reconnected = true;
      this.#resend();
      return;
    }
    this.host.prefillFailed(this, endOf(failure), message);
  }

  onWritable(): void {}

  onFault(thrown: unknown): void {
    this.host.onFault(thrown);
  }
}
