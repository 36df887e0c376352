import type { Flight } from './flight.ts';
import type { LatencyModel } from './latency-model.ts';
import { latencyModelLimits as limits } from './limits.ts';
import { Correction, RecentMean } from './ratio.ts';
import { SlidingSum } from './sliding-sum.ts';

/** What requests on a replica still need: see the fields of the same names of `ReplicaLoad`. */
export interface Work {
  readonly prefillTokens: number;
  readonly decoding: number;
  readonly outputTokens: number;
}

/** What this gateway has on one replica now, counted at once, and what its answers told of it. */
export class ReplicaLoad implements Work {
  /** The latency model asked for last, so that a pick looks none up by text. */
  latency: { readonly model: string; readonly engine: string | number; readonly of: LatencyModel } | undefined;
  inflight = 0;
  /** Prompt tokens not yet computed: of requests without a first token, those believed not cached. */
  prefillTokens = 0;
  /** Requests past their first token. */
  decoding = 0;
  /** Output tokens still to come, as expected. */
  outputTokens = 0;
  readonly ttft = new RecentMean();
  readonly tpot = new RecentMean();
  /** Requests in flight when those were sent that `ttft` tells of. */
  readonly busyness = new RecentMean();
  /** Hand-over of KV to it, for each 1,000 tokens, ms. */
  readonly transfer = new RecentMean();
  readonly ttftCorrection = new Correction();
  readonly tpotCorrection = new Correction();
  #prefilledTokens = 0;
  #decodingMs = 0;
  #decodingSinceMs = 0;
  readonly #sent = new SlidingSum(limits.windowMs);
  readonly #work = new SlidingSum(limits.windowMs);
  readonly #busy = new SlidingSum(limits.busyWindowMs);
  #busySinceMs = 0;
  /** Requests whose first token nobody will see, in the order in which it is expected. */
  readonly #unseen: { readonly flight: Flight; readonly atMs: number }[] = [];

  constructor(readonly replicaId: string) {}

  take(flight: Flight, workMs: number, nowMs: number): void {
    this.#noteBusy(nowMs);
    this.inflight++;
    this.#sent.add(expectedTokens(flight), nowMs);
    this.prefillTokens += flight.uncachedTokens;
    if (flight.sent.outputTokens > 0) this.outputTokens += flight.sent.outputTokens;
    if (workMs > 0) this.#work.add(workMs, nowMs);
    if (flight.sent.stream || Number.isNaN(flight.predictedTtftMs)) return;
    this.#unseen.push({ flight, atMs: nowMs + flight.predictedTtftMs });
  }

  /** The prefill of this request is over. */
  begun(flight: Flight, nowMs: number): void {
    if (flight.decoding || flight.landed) return;
    flight.decoding = true;
    this.prefillTokens -= flight.uncachedTokens;
    flight.begunAtMs = nowMs;
    flight.decodingMsBefore = this.decodingMs(nowMs);
    this.decoding++;
    this.#prefilledTokens += flight.uncachedTokens;
    flight.prefilledBefore = this.#prefilledTokens;
  }

  /** Since the start: time that requests spent decoding here, summed over them. */
  decodingMs(nowMs: number): number {
    if (nowMs > this.#decodingSinceMs) {
      this.#decodingMs += this.decoding * (nowMs - this.#decodingSinceMs);
      this.#decodingSinceMs = nowMs;
    }
    return this.#decodingMs;
  }

  /** Since the start: prompt tokens whose prefill is over. */
  get prefilledTokens(): number {
    return this.#prefilledTokens;
  }

  leave(flight: Flight, tokens: number, nowMs: number): void {
    this.#noteBusy(nowMs);
    this.decodingMs(nowMs);
    this.inflight--;
    if (flight.decoding) this.decoding--;
    else this.prefillTokens -= flight.uncachedTokens;
    if (flight.sent.outputTokens > 0) this.outputTokens -= flight.sent.outputTokens;
    // Sums of many fractions: what rounding left is not a load.
    if (this.inflight === 0) this.prefillTokens = this.decoding = this.outputTokens = 0;
    this.#sent.add(tokens - expectedTokens(flight), nowMs);
  }

  /** Moves on those whose first token should have come unseen by now. */
  settle(nowMs: number): void {
    const unseen = this.#unseen;
    let passed = 0;
    while (passed < unseen.length && (unseen[passed] as { atMs: number }).atMs <= nowMs) {
      const { flight, atMs } = unseen[passed] as { flight: Flight; atMs: number };
      this.begun(flight, atMs);
      passed++;
    }
    if (passed > 0) unseen.splice(0, passed);
  }

  /** Of requests sent lately: as expected, and when they end as they were. */
  tokensPerS(nowMs: number): number {
    const tokens = this.#sent.sum(nowMs);
    // What was put right after its sending fell out of the window.
    return tokens > 0 ? (tokens * 1_000) / limits.windowMs : 0;
  }

  /** Predicted milliseconds of prefill and decode sent there over the window. */
  workMs(nowMs: number): number {
    return this.#work.sum(nowMs);
  }

  /** Share of the window in which this gateway had something there. */
  busyShare(nowMs: number): number {
    this.#noteBusy(nowMs);
    return Math.min(1, this.#busy.sum(nowMs) / limits.busyWindowMs);
  }

  #noteBusy(nowMs: number): void {
    if (this.inflight > 0) this.#busy.addOver(1, this.#busySinceMs, nowMs);
    this.#busySinceMs = nowMs;
  }
}

const expectedTokens = ({ sent }: Flight): number =>
  sent.promptTokens + (sent.outputTokens > 0 ? sent.outputTokens : 0);
