import { type CostProfile, a100Llama8b } from '#libs/engine-model';
import { type Environment, systemEnvironment } from '#libs/kernel';
import type { FaultRule } from './faults.ts';

export interface KvEventsOptions {
  /** Ports of the PUB and the replay socket; 0 is any free one. */
  readonly port?: number;
  readonly replayPort?: number;
  /** Default `kv@HOST:PORT@MODEL`. */
  readonly topic?: string;
}

export interface EngineSimOptions {
  /** Default loopback. */
  readonly host?: string;
  /** 0 is any free one. */
  readonly port?: number;
  /** Served names; answers carry the one asked for, the first is the default. */
  readonly models?: readonly string[];
  /** Seeds block hashes and what is sampled without a seed of its own. */
  readonly seed?: number;
  readonly profile?: CostProfile;
  /** Replaces the profile by a step of this many ms whatever is in it, for benches. */
  readonly paceMs?: number | undefined;
  /** Durations are divided by this. */
  readonly speed?: number;
  readonly blocks?: number | undefined;
  readonly blockSize?: number;
  readonly maxNumSeqs?: number;
  readonly maxNumBatchedTokens?: number;
  readonly maxModelLen?: number;
  readonly maxLoras?: number;
  readonly maxLoraRank?: number;
  /** An adapter's folder must exist, as in the real engine; else any path is an adapter of rank 8. */
  readonly strictAdapters?: boolean;
  /** Running and waiting requests beyond this are refused with 503; undefined is no bound. */
  readonly maxNumQueuedReqs?: number | undefined;
  readonly prefixCaching?: boolean;
  /** `pooling` serves embeddings and no text, `generate` the reverse. */
  readonly runner?: 'generate' | 'pooling';
  /** Engines behind the one server, told apart by `x-data-parallel-rank` and by the label `engine` of their metrics. */
  readonly dataParallel?: number;
  /** Takes part in a hand-over between a prefill and a decode engine, like vLLM with a NIXL connector. */
  readonly kvTransfer?: boolean;
  /** A constant answer without a model or a delay, for proxy benches. */
  readonly instant?: boolean;
  readonly kvEvents?: KvEventsOptions | undefined;
  /** Plays the profile's start-up: nobody listens until it is over. */
  readonly startUp?: boolean;
  /** Faults in force from the start. */
  readonly faults?: readonly FaultRule[];
  /** What the fault `crash` does. Default: every connection is reset and nobody listens any more. */
  readonly crash?: (() => void) | undefined;
  readonly environment?: Environment;
}

export type EngineSimSettings = ReturnType<typeof withDefaults>;

export function withDefaults(options: EngineSimOptions) {
  const base = options.profile ?? a100Llama8b;
  const pace = options.paceMs;
  const profile: CostProfile =
    pace === undefined
      ? base
      : { ...base, name: `pace-${pace}ms`, stepMs: pace, prefillTokenMs: 0, sequenceMs: 0, contextTokenMs: 0 };
  const blockSize = options.blockSize ?? 16;
  const blocks = options.blocks ?? profile.kvBlocks;
  return {
    host: options.host ?? '127.0.0.1',
    port: options.port ?? 0,
    models: options.models === undefined || options.models.length === 0 ? ['sim-8b'] : options.models,
    seed: options.seed ?? 1,
    profile,
    speed: options.speed ?? 1,
    blocks,
    blockSize,
    maxNumSeqs: options.maxNumSeqs ?? 256,
    maxNumBatchedTokens: options.maxNumBatchedTokens ?? 2048,
    maxModelLen: Math.min(options.maxModelLen ?? 8192, blocks * blockSize),
    maxLoras: options.maxLoras ?? 4,
    maxLoraRank: options.maxLoraRank ?? 16,
    strictAdapters: options.strictAdapters ?? false,
    maxNumQueuedReqs: options.maxNumQueuedReqs,
    prefixCaching: options.prefixCaching ?? true,
    runner: options.runner ?? 'generate',
    kvTransfer: options.kvTransfer ?? false,
    dataParallel: Math.max(1, options.dataParallel ?? 1),
    instant: options.instant ?? false,
    kvEvents: options.kvEvents,
    startUp: options.startUp ?? false,
    faults: options.faults ?? [],
    crash: options.crash,
    environment: options.environment ?? systemEnvironment,
  };
}
