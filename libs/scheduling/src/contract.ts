import type { Rng } from '#libs/kernel';

/** Columns a plugin can read. Each belongs to one replica at one instant; NaN is unknown. */
export const columns = [
  /** Requests this gateway has on the replica now, plus what other gateways last said they have. */
  'inflight',
  /** vllm:num_requests_waiting and its like. */
  'waiting',
  /** vllm:num_requests_running and its like. */
  'running',
  /** Share of KV blocks in use, 0 to 1. */
  'kvUse',
  /** Prefix blocks of this prompt believed to be cached there. */
  'prefixBlocks',
  /** 1 for a replica that came into routing long ago, below 1 while it is warming up (slow start). */
  'warmth',
  /** Tokens still to be computed by requests of the gateways there: prompt tokens not cached, and output tokens expected. */
  'inflightTokens',
  /** Of them prompt tokens, of requests without a first token: what a new prompt waits behind. */
  'prefillTokens',
  /** Requests there past their first token: the batch that a new one joins. */
  'decoding',
  /** Tokens a second of requests sent there in the last half minute: prompt and output as expected, and once they end as they were. */
  'tokensPerS',
  /** Mean time to first token lately, as this gateway measured it, ms. Aged by the last measurement. */
  'ttftMs',
  /** Mean time per further token lately, ms. */
  'tpotMs',
  /** Share of the last four seconds in which this gateway had a request there, 0 to 1. */
  'busyShare',
  /** Tokens served to the request's tenant lately by those of the tenant with most, 0 to 1. The same for all candidates. */
  'tenantLevel',
  /** Predicted milliseconds of prefill and decode sent there lately. */
  'workMs',
  /** Latency model of the candidate: TTFT = ttftBaseMs + ttftPerKTokenMs × tokens ∕ 1000 + ttftPerDecodingMs × decoding, ms. */
  'ttftBaseMs',
  'ttftPerKTokenMs',
  'ttftPerDecodingMs',
  /** The same for each further token: TPOT = tpotBaseMs + tpotPerDecodingMs × decoding, ms. */
  'tpotBaseMs',
  'tpotPerDecodingMs',
  /** Output tokens expected of this request. The same for all candidates. */
  'outputTokens',
  /** Observations that the latency model was fitted to. */
  'modelVersion',
  /** Requests in flight there, on the mean, when those were sent of which `ttftMs` tells. */
  'measuredInflight',
  /** What the replica may do of this request, as bits: 1 prefill for another, 2 decode after another, 4 all of it, 8 all of it in need. */
  'roles',
  /** Those of one number can hand KV over to one another: a role set with one connector. */
  'pairGroup',
  /** Lengths of prompts that the replica is for, tokens: from (inclusive) and to (exclusive). */
  'promptTokensMin',
  'promptTokensMax',
  /** Hand-over to this replica as measured lately, for each 1,000 tokens, ms. Aged by the last one. */
  'transferPerKTokenMs',
  /** 1 where the adapter that the request names is believed to be in a slot of the engine, 0 where it is to be loaded first. Unknown for base models. */
  'adapterResident',
  /** Of `prefixBlocks`, those that only host memory of the replica has, and those that only its storage has. Unknown where guessed. */
  'hostBlocks',
  'storageBlocks',
] as const;

export type Column = (typeof columns)[number];

/** Place of each column, for those who fill tables quickly. */
export const columnIndex = Object.fromEntries(columns.map((column, index) => [column, index])) as Readonly<
  Record<Column, number>
>;

/** What the scheduler knows of the request. Field names as in lintel.route.v1.RequestFeatures. */
export interface RequestFeatures {
  readonly bodyBytes: number;
  readonly promptTokens: number;
  readonly promptTokensExact: boolean;
  readonly maxTokens: number;
  /** 32-bit hash of the session header; 0 is none. */
  readonly sessionHash: number;
  readonly prefixBlocks: number;
  /** Targets of the client for this request, before those of its profile; 0 is not said. */
  readonly sloTtftMs: number;
  readonly sloTpotMs: number;
}

/** The candidates of one pick, by column. Arrays are reused between picks: copy what must outlive it. */
export interface Candidates {
  readonly count: number;
  /** Replica ids in evaluation order. */
  readonly ids: readonly string[];
  /** Values of one column, one for each candidate; all NaN where nothing is known. */
  values(column: Column): Float64Array;
  /** Age of each value in milliseconds; 0 is the gateway's own count at this instant, NaN unknown. */
  agesMs(column: Column): Float32Array;
}

/** Parameters after validation: plain JSON values with defaults filled in. */
export type Params = Readonly<Record<string, number | string | boolean>>;

/** What degraded or was special in this pick: "stale:kvUse". Each text is held once, in the order of its first mention. */
export interface Notes {
  add(note: string): void;
}

/** One pick as its plugins see it. The object and its arrays are reused: keep nothing of it. */
export interface PickContext {
  readonly request: RequestFeatures;
  readonly candidates: Candidates;
  /** 1 for each candidate that may still be chosen; filters clear it, nobody sets it. */
  readonly keep: Uint8Array;
  /** By candidate: who computes the prompt for it, -1 nobody else. Written by the scorer that says `pairs`. */
  readonly partners: Int32Array;
  readonly notes: Notes;
  /** Of this pick, 32 bits. Callers count it up by one each pick, so that `rotation` rotates. */
  readonly seed: number;
  /** Seeded from `seed` for each plugin in turn. */
  readonly rng: Rng;
}

interface PluginFacts {
  /** kebab-case; the folder's name. */
  readonly type: string;
  /** Raised whenever the same inputs would give another output. */
  readonly version: number;
  readonly stability: 'stable' | 'experimental';
  readonly reads: readonly Column[];
  /** Strict: an unknown name, a wrong type or a value out of range throws SCHEDULING_PARAM_INVALID. Fills in defaults. */
  params(given: Readonly<Record<string, unknown>>): Params;
}

export interface Filter extends PluginFacts {
  readonly kind: 'filter';
  /** Clears `keep[i]` (1 → 0) for those that must not be chosen. */
  filter(context: PickContext, params: Params): void;
}

export interface Scorer extends PluginFacts {
  readonly kind: 'scorer';
  /** It writes `partners` for each kept candidate. */
  readonly pairs?: true;
  /** Writes a score in [0, 1] for each kept candidate, best 1; NaN where it has no opinion. Exact arithmetic only. */
  score(context: PickContext, params: Params, out: Float64Array): void;
}

export interface Picker extends PluginFacts {
  readonly kind: 'picker';
  /** Index of the chosen candidate among the kept ones (there is at least one). */
  pick(context: PickContext, params: Params, totals: Float64Array): number;
}

export type Plugin = Filter | Scorer | Picker;

export interface PluginUse {
  readonly type: string;
  readonly version: number;
  readonly params: Params;
}

/** A whole strategy: canonical JSON of this stands in the records. */
export interface PipelineSpec {
  readonly strategy: string;
  readonly filters: readonly PluginUse[];
  readonly scorers: readonly (PluginUse & { readonly weight: number })[];
  readonly picker: PluginUse;
}

/** What one pick came to. Arrays belong to the pipeline, are longer than needed and are reused: copy what must outlive the next pick. */
export interface Decision {
  /** Candidates of this pick: the valid length of `filteredBy` and `totals`; `scores` has count × scorers. */
  readonly count: number;
  /** Index into candidates, or -1 where every candidate was removed or none was given. */
  readonly chosen: number;
  /** Who computes the prompt for the chosen one; -1 is nobody else. */
  readonly partner: number;
  /** For each candidate index + 1 of the filter that removed it; 0 is kept. */
  readonly filteredBy: Uint8Array;
  /** Row by row: candidates × scorers, unweighted; NaN for filtered ones. */
  readonly scores: Float64Array;
  /** Weighted mean of the scores, in [0, 1]; a NaN score counts 0. NaN for filtered ones. */
  readonly totals: Float64Array;
  /** What degraded, e.g. "stale:kvUse". */
  readonly notes: readonly string[];
}
