import { route } from '#libs/contracts';
import type { BlockHashes } from '#libs/prefix-index';
import { hashTokens } from '#libs/prefix-index';
import type { KvFold } from '#libs/kv-stream';
import type { CandidateTable } from '#libs/scheduling';
import type { FleetReplica } from '../fleet/fleet.ts';

/** A prompt in the engine's own blocks, and what is known of who has them. */
export class ExactPrefix {
  constructor(
    readonly blocks: BlockHashes,
    /** Tokens of a block. */
    readonly blockTokens: number,
    readonly promptTokens: number,
    private readonly fold: KvFold,
  ) {}

  /** Depths by medium, each with its age; unknown for a replica of which not all is known any more. */
  write(table: CandidateTable, nowMs: number): void {
    const { ids, count } = table;
    const { device, host: inHost, storage } = this.fold.index.matchMedia(this.blocks, ids);
    const all = table.values('prefixBlocks');
    const host = table.values('hostBlocks');
    const stored = table.values('storageBlocks');
    const ages = table.agesMs('prefixBlocks');
    const hostAges = table.agesMs('hostBlocks');
    const storedAges = table.agesMs('storageBlocks');
    for (let i = 0; i < count; i++) {
      const id = ids[i] as string;
      const known = this.fold.exact(id, nowMs);
      all[i] = known ? (storage[i] as number) : Number.NaN;
      host[i] = known ? (inHost[i] as number) - (device[i] as number) : Number.NaN;
      stored[i] = known ? (storage[i] as number) - (inHost[i] as number) : Number.NaN;
      ages[i] = this.fold.ageMs(id, nowMs);
      hostAges[i] = ages[i] as number;
      storedAges[i] = ages[i] as number;
    }
  }

  /** The request goes there: it will have these blocks. */
  dispatched(replicaId: string, nowMs: number): void {
    this.fold.index.insert(this.blocks, replicaId, nowMs);
  }
}

export interface ExactAsked {
  readonly adapter: string;
  readonly cacheSalt: string;
  readonly replicas: readonly FleetReplica[];
  readonly tokens: ArrayLike<number>;
}

/**
 * The prompt's blocks, where all is known of each replica that may be asked, and their blocks are of one size; else why not. A value
 * that is known is never compared with a guess.
 */
export function exactPrefix(fold: KvFold, asked: ExactAsked, nowMs: number): ExactPrefix | string {
  const { adapter, cacheSalt, replicas, tokens } = asked;
  let blockTokens = 0;
  for (const replica of replicas) {
    const state = replica.routability(nowMs);
    if (state !== 'ready' && state !== 'unknown') continue;
    // Its events name tokens alone: blocks of an adapter or of a salt look like those of any other prompt.
    if (replica.engine === route.EngineKind.SGLANG && (adapter !== '' || cacheSalt !== ''))
      return `no-keys:${replica.id}`;
    if (!fold.exact(replica.id, nowMs))
      return fold.replicas.has(replica.id) ? `inexact:${replica.id}` : `no-events:${replica.id}`;
    for (const { holder } of fold.replicas.get(replica.id)?.ranks.values() ?? []) {
      // One that holds nothing yet has not said how large its blocks are.
      if (holder.blockSize === 0) continue;
      if (blockTokens !== 0 && holder.blockSize !== blockTokens) return `block-size:${replica.id}`;
      blockTokens = holder.blockSize;
    }
  }
  if (blockTokens === 0) return 'nothing-held';
  // The engine computes the last token anew always.
  const usable = Math.floor((tokens.length - 1) / blockTokens) * blockTokens;
  const own = usable === tokens.length ? tokens : slice(tokens, usable);
  const seed = { model: '', adapter, ...(cacheSalt === '' ? {} : { cacheSalt }) };
  return new ExactPrefix(hashTokens(seed, own, blockTokens), blockTokens, tokens.length, fold);
}

const slice = (tokens: ArrayLike<number>, length: number): ArrayLike<number> =>
  Array.isArray(tokens) ? (tokens as number[]).slice(0, length) : Array.prototype.slice.call(tokens, 0, length);
