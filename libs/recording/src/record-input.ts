import type { route } from '#libs/contracts';
import type { Candidates, CompiledPipeline, Decision, RequestFeatures } from '#libs/scheduling';

/** Fields of lintel.route.v1.Pipeline. One object for each policy version and strategy: frames tell pipelines apart by identity. */
export interface PipelineRef {
  readonly hash: string;
  readonly json: string;
  readonly strategy: string;
  readonly policyId: string;
  readonly policyVersion: number;
  readonly policySeq: number;
}

/** A pick as it was: copied out of the scheduler's reused buffers. */
export interface CapturedPick {
  readonly pipeline: PipelineRef;
  readonly seed: number;
  readonly columns: readonly string[];
  readonly replicaIds: readonly string[];
  /** Row by row: candidates × columns. */
  readonly values: readonly number[];
  readonly agesMs: readonly number[];
  readonly filteredBy: readonly number[];
  readonly scores: readonly number[];
  readonly totals: readonly number[];
  /** Index into replicaIds, or -1. */
  readonly chosen: number;
  /** Index into replicaIds of who computes the prompt for the chosen one, or -1. */
  readonly partner?: number;
  readonly notes: readonly string[];
  /** Undefined where no prefix was looked for. */
  readonly prefix?: CapturedPrefix | undefined;
}

/** By what the depths in `prefixBlocks` are known. */
export interface CapturedPrefix {
  readonly source: route.PrefixSource;
  /** Of the engine's blocks; 0 for blocks of text. */
  readonly blockTokens: number;
  /** Why text was taken though the tokens were known. */
  readonly degraded: string;
}

const copied = (from: ArrayLike<number>, length: number): number[] => {
  const out = room(length);
  for (let i = 0; i < length; i++) out[i] = from[i] as number;
  return out;
};

/** All of it is written before it is read. */
// oxlint-disable-next-line unicorn/no-new-array
const room = (length: number): number[] => new Array<number>(length);

const none: readonly string[] = [];

/** Copies what decide() read and answered; call it before the next pick of the same pipeline. */
export function capturePick(
  compiled: CompiledPipeline,
  pipeline: PipelineRef,
  candidates: Candidates,
  seed: number,
  decision: Decision,
  prefix?: CapturedPrefix,
): CapturedPick {
  const { count } = decision;
  const columns = compiled.reads;
  const width = columns.length;
  const values = room(count * width);
  const agesMs = room(count * width);
  for (let place = 0; place < width; place++) {
    const column = columns[place] as (typeof columns)[number];
    const from = candidates.values(column);
    const fromAges = candidates.agesMs(column);
    for (let row = 0, at = place; row < count; row++, at += width) {
      values[at] = from[row] as number;
      agesMs[at] = fromAges[row] as number;
    }
  }
  return {
    pipeline,
    seed: seed >>> 0,
    columns,
    replicaIds: candidates.ids.slice(0, count),
    values,
    agesMs,
    filteredBy: copied(decision.filteredBy, count),
    scores: copied(decision.scores, count * compiled.width),
    totals: copied(decision.totals, count),
    chosen: decision.chosen,
    partner: decision.partner,
    notes: decision.notes.length === 0 ? none : [...decision.notes],
    prefix,
  };
}

export interface RecordedAttempt {
  readonly replicaId: string;
  /** Index into picks. */
  readonly pick: number;
  readonly startMs: number;
  readonly firstByteMs: number;
  readonly endMs: number;
  readonly end: route.AttemptEnd;
  readonly httpStatus: number;
  readonly error: string;
  /** PREFILL or DECODE of a request that was handed over. */
  readonly role?: route.ReplicaRole;
  /** Asked while another attempt had not answered yet. */
  readonly hedge?: boolean;
  /** Tokens of a broken stream that it went on from. Undefined: it began the answer. */
  readonly continuedTokens?: number | undefined;
  /** As what it was sent, where not as it came. */
  readonly sentAs?: string | undefined;
}

/** Fields of lintel.route.v1.Handover. */
export interface RecordedHandover {
  readonly connector: string;
  readonly prefillMs: number;
  readonly transferMs: number;
  readonly tokens: number;
}

/** Fields of lintel.route.v1.Timings. */
export interface RecordedTimings {
  readonly bodyReadMs: number;
  readonly pickedMs: number;
  readonly firstByteMs: number;
  readonly totalMs: number;
  readonly pickUs: number;
  readonly tokenSpanMs: number;
  readonly tokenGaps: number;
  readonly tokenGapMsMax: number;
  /** 0 did not wait. */
  readonly queuedMs: number;
}

export interface RecordedUsage {
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly cachedTokens: number;
  readonly fromEngine: boolean;
}

/** Fields of lintel.route.v1.Forecast; NaN is not known. */
export interface RecordedForecast {
  readonly predictedMs: number;
  readonly lowMs: number;
  readonly highMs: number;
  readonly measuredMs: number;
  readonly decile: number;
}

/** What it cost, where that is known. */
export interface RecordedCost {
  readonly nano: number;
  /** Sequence of the commit that set the prices. */
  readonly priceSeq: number;
  readonly currency: string;
}

/** Fields of lintel.route.v1.Tunnel. */
export interface RecordedTunnel {
  readonly bytesUp: number;
  readonly bytesDown: number;
  readonly messagesUp: number;
  readonly messagesDown: number;
  readonly closeCode: number;
}

/**
 * One request at its end: the fields of lintel.route.v1.DecisionRecord with replicas and pipelines in plain. The recorder keeps
 * the object until its frame is closed: hand it over and forget it.
 */
export interface RecordInput {
  readonly requestId: string;
  readonly receivedAtMs: number;
  readonly tenantId: string;
  readonly keyId: string;
  readonly endUser: string;
  readonly endpoint: string;
  readonly model: string;
  readonly adapter: string;
  readonly stream: boolean;
  readonly features: RequestFeatures | undefined;
  readonly picks: readonly CapturedPick[];
  readonly attempts: readonly RecordedAttempt[];
  readonly outcome: route.Outcome;
  readonly httpStatus: number;
  readonly errorCode: string;
  readonly timings: RecordedTimings | undefined;
  readonly usage: RecordedUsage | undefined;
  readonly cost?: RecordedCost | undefined;
  readonly traceparent: string;
  /** Kept only where configuration says so. */
  readonly clientAddress?: string | undefined;
  readonly heads: Readonly<Record<string, number>>;
  readonly errorMessage: string;
  readonly profile: string;
  /** Undefined where the name asked for led to the model of that name. */
  readonly modelChoice?: route.ModelChoice | undefined;
  /** Of the key, where it has them. */
  readonly projectId?: string;
  readonly userId?: string;
  readonly handover?: RecordedHandover | undefined;
  /** Of a WebSocket session. */
  readonly tunnel?: RecordedTunnel | undefined;
  /** Of the first token and of the end, where anything was foretold. */
  readonly ttft?: RecordedForecast | undefined;
  readonly finish?: RecordedForecast | undefined;
}
