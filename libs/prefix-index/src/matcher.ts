import type { BlockHashes } from './hash-blocks.ts';

/** What routing asks, whether engines tell what they hold (`KvIndex`) or one can only remember what was sent (`PrefixIndex`). */
export interface PrefixMatcher {
  readonly size: number;
  /** How many leading blocks each replica has: `out[i]` for `replicaIds[i]`, 0 for one never heard of. */
  match(blocks: BlockHashes, replicaIds: readonly string[], out?: Float64Array): Float64Array;
  /** Notes that a request with these blocks goes to the replica now. */
  insert(blocks: BlockHashes, replicaId: string, nowMs: number): void;
  /** The replica restarted or is gone: it has nothing. */
  forgetReplica(replicaId: string): void;
}
