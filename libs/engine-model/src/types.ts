import type { CostProfile } from './profiles.ts';

export interface EngineModelOptions {
  readonly profile: CostProfile;
  /** Most sequences in one step. */
  readonly maxNumSeqs: number;
  /** Most tokens computed in one step; longer prompts are split over steps. */
  readonly maxNumBatchedTokens: number;
  readonly blockSize: number;
  readonly blocks: number;
  readonly prefixCaching: boolean;
  /** Adapters that can be used at the same time. */
  readonly maxLoras: number;
  /** Durations are divided by this. */
  readonly speed: number;
  /** Distinguishes the block hashes of one engine from another's, as a process seed does in the real one. */
  readonly seed: number;
}

export type FinishReason = 'stop' | 'length' | 'abort' | 'error';

export interface SequenceRequest {
  readonly prompt: ArrayLike<number>;
  /** Tokens to generate, ≥ 1; the finish reason when all are there. */
  readonly outputTokens: number;
  readonly finish: 'stop' | 'length';
  /** Output token of this index (0-based). */
  token(index: number): number;
  readonly adapter?: string | undefined;
  readonly cacheSalt?: string | undefined;
  /** The KV of this many prompt tokens comes from another engine (decode side of a hand-over). */
  readonly remoteTokens?: number | undefined;
  /** Keep the blocks after the end until `release` (prefill side of a hand-over). */
  readonly holdBlocks?: boolean | undefined;
}

/** A sequence as seen from outside. Times are of the driving clock, ms; NaN is "not yet". */
export interface SequenceView {
  readonly id: number;
  readonly request: SequenceRequest;
  readonly arrivedMs: number;
  readonly scheduledMs: number;
  readonly firstTokenMs: number;
  readonly finishedMs: number;
  readonly outputs: number;
  /** Prompt tokens found in the prefix cache, resp. fetched from another engine, at first admission. */
  readonly cachedTokens: number;
  readonly externalTokens: number;
  readonly preemptions: number;
  readonly blockIds: readonly number[];
}

export interface BlockStored {
  readonly type: 'BlockStored';
  readonly hashes: readonly number[];
  readonly parentHash: number | undefined;
  readonly tokens: readonly number[];
  readonly blockSize: number;
  readonly adapter: string | undefined;
  /** Salt of the first block, where this is the start of a chain. */
  readonly cacheSalt: string | undefined;
}

export interface BlockRemoved {
  readonly type: 'BlockRemoved';
  readonly hashes: readonly number[];
}

export interface AllBlocksCleared {
  readonly type: 'AllBlocksCleared';
}

export type KvEvent = BlockStored | BlockRemoved | AllBlocksCleared;

export interface StepReport {
  readonly startedMs: number;
  readonly endedMs: number;
  readonly prefillTokens: number;
  readonly sequences: number;
}

/** Called at the model time of each thing, in order. A listener must not call back into the model except to abort. */
export interface EngineListener {
  /** True ends the sequence here with reason `stop`. */
  token?(sequence: SequenceView, token: number, nowMs: number): boolean | void;
  finished?(sequence: SequenceView, reason: FinishReason, nowMs: number): void;
  kvEvents?(events: readonly KvEvent[], nowMs: number): void;
  step?(report: StepReport): void;
}

export interface EngineCounts {
  running: number;
  waiting: number;
  /** Of the waiting: those that wait for an adapter or a transfer and not for room. */
  deferred: number;
  /** 0..1. */
  kvUsage: number;
  steps: number;
  preemptions: number;
  prefixQueries: number;
  prefixHits: number;
  externalQueries: number;
  externalHits: number;
  promptTokens: number;
  generatedTokens: number;
  added: number;
  finished: number;
  aborted: number;
}
