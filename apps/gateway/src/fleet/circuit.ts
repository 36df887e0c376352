import { circuitLimits } from './limits.ts';

export type CircuitState = 'closed' | 'open' | 'half-open';

/** What an attempt said of its replica. `neutral` says nothing: the client left, or the engine was full. */
export type Verdict = 'success' | 'failure' | 'neutral';

/**
 * Keeps requests off a replica that fails again and again. Pure: time is given. Opened by failures in a row; after a while half-open,
 * where a bounded number of requests per period probe it, however long one of them takes; the first success closes it.
 */
export class Circuit {
  #failures = 0;
  #opened = 0;
  /** Opened or tried in vain this often since it was last closed. */
  #trips = 0;
  #openUntilMs = 0;
  #periodStartMs = 0;
  #probes = 0;
  #state: CircuitState = 'closed';

  /** Openings since the start. */
  get opened(): number {
    return this.#opened;
  }

  stateAt(nowMs: number): CircuitState {
    if (this.#state === 'open' && nowMs >= this.#openUntilMs) this.#halfOpen(nowMs);
    return this.#state;
  }

  /** Whether a request may go now. Asking changes nothing that another caller would notice. */
  admits(nowMs: number): boolean {
    const state = this.stateAt(nowMs);
    if (state !== 'half-open') return state === 'closed';
    if (nowMs - this.#periodStartMs >= this.#openMs()) {
      this.#periodStartMs = nowMs;
      this.#probes = 0;
    }
    return this.#probes < circuitLimits.probesPerPeriodMax;
  }

  begin(nowMs: number): void {
    if (this.stateAt(nowMs) === 'half-open') this.#probes++;
  }

  end(verdict: Verdict, nowMs: number): void {
    const state = this.stateAt(nowMs);
    if (verdict === 'neutral') return;
    if (verdict === 'success') {
      // While open it is the late end of what began before: it does not say that the replica is well now.
      if (state !== 'open') this.#close();
      return;
    }
    this.#failures++;
    if (state === 'half-open' || (state === 'closed' && this.#failures >= circuitLimits.failuresMax)) this.#open(nowMs);
  }

  /** Something else saw the replica come back: probe now instead of waiting. */
  probeNow(nowMs: number): void {
    if (this.stateAt(nowMs) === 'open') this.#halfOpen(nowMs);
  }

  #open(nowMs: number): void {
    if (this.#state === 'closed') this.#opened++;
    this.#state = 'open';
    this.#trips++;
    this.#openUntilMs = nowMs + this.#openMs();
  }

  #halfOpen(nowMs: number): void {
    this.#state = 'half-open';
    this.#periodStartMs = nowMs;
    this.#probes = 0;
  }

  #close(): void {
    this.#state = 'closed';
    this.#failures = 0;
    this.#trips = 0;
  }

  #openMs(): number {
    return Math.min(circuitLimits.openMsMax, circuitLimits.openMsMin * 2 ** Math.min(Math.max(0, this.#trips - 1), 10));
  }
}
