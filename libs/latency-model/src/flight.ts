import type { LatencyModel } from './latency-model.ts';
import type { Forecast } from './ratio-quantiles.ts';
import type { ReplicaLoad } from './replica-load.ts';

/** What is known of a request when it is sent. */
export interface Sent {
  readonly tenant: string;
  readonly model: string;
  readonly promptTokens: number;
  /** Of them those believed to be cached where it goes. */
  readonly cachedTokens: number;
  /** Expected; NaN is unknown. */
  readonly outputTokens: number;
  /** Its first token will be seen when it comes. */
  readonly stream: boolean;
  /** Prompt tokens whose KV comes from another replica; undefined: none. */
  readonly transferredTokens?: number | undefined;
}

/** What came of it. */
export interface Landed {
  /** The engine answered, and to the end: only such requests teach. */
  readonly whole: boolean;
  /** 0 is not known. */
  readonly promptTokens: number;
  readonly outputTokens: number;
  /** Of the prompt, as the engine says; NaN is not said. */
  readonly cachedTokens: number;
}

/** One request on one replica, from `FleetSignals.sent` to `landed`. */
export class Flight {
  firstTokenMs = Number.NaN;
  /** Requests that this gateway had there when it was sent, without it. */
  inflightAhead = 0;
  /** Of its replica when its prefill was over, as seen or as predicted. */
  begunAtMs = Number.NaN;
  decodingMsBefore = 0;
  prefilledBefore = 0;
  /** As seen on a stream; NaN where it was not. */
  measuredTtftMs = Number.NaN;
  measuredTpotMs = Number.NaN;
  landed = false;
  /** Its first token and its end, as foretold when it was sent; undefined where nothing could be, or where KV is handed over. */
  ttft: Forecast | undefined = undefined;
  finish: Forecast | undefined = undefined;
  /** Past its prefill, as seen or as predicted. */
  decoding = false;

  constructor(
    readonly load: ReplicaLoad,
    readonly latency: LatencyModel,
    readonly sent: Sent,
    readonly startMs: number,
    readonly uncachedTokens: number,
    /** What its first token waits for. */
    readonly prefillTokens: number,
    readonly decodingAhead: number,
    /** NaN where nothing could be predicted. */
    readonly predictedTtftMs: number,
    readonly predictedTpotMs: number,
  ) {}
}
