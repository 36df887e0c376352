import { none } from './block-table.ts';
import type { BlockExtra } from './hash-tokens.ts';
import { chainBlock, chainBlocks, chainRoot } from './hash-tokens.ts';
import type { Holder } from './holder.ts';
import type { KvIndex } from './kv-index.ts';
import { kvLimits, media, type Medium } from './limits.ts';

/** Hashes of an engine: two words for each, the low one first, as `libs/engines` reads them; or hex, of which the last 64 bits count. */
export type EngineHashes = Uint32Array | readonly string[];

/** An engine's event, as far as identity needs it: the types of `libs/engines` fit. */
export interface StoredBlocks {
  readonly type: 'BlockStored';
  readonly blockHashes: EngineHashes;
  readonly parentBlockHash: Uint32Array | string | null;
  readonly tokenIds: ArrayLike<number>;
  readonly blockSize: number;
  readonly loraId: number | null;
  readonly loraName: string | null;
  readonly medium: string | null;
  readonly extraKeys: readonly (readonly BlockExtra[] | null)[] | null;
  readonly groupIdx: number | null;
  readonly cacheSpecKind: string | null;
  readonly slidingWindow: number | null;
}

export interface RemovedBlocks {
  readonly type: 'BlockRemoved';
  readonly blockHashes: EngineHashes;
  readonly medium: string | null;
  readonly groupIdx: number | null;
}

export type CacheEvent = StoredBlocks | RemovedBlocks | { readonly type: 'AllBlocksCleared' };

/** What could not be placed, since the start. Each of the first three makes its holder inexact: it holds more than the index says. */
export interface IdentityCounts {
  /** Behind a parent that is not known, or copies of a block that is not. */
  orphans: number;
  /** Tokens that do not fill their blocks, another block size than the engine's other blocks have, groups beyond the bound. */
  misfits: number;
  /** No room in the index. */
  refused: number;
  /** Removals of what was not known to be there. */
  unknownRemovals: number;
}

const mediumNames: Readonly<Record<string, Medium>> = {
  GPU: media.gpu,
  CPU: media.cpu,
  CPU_PINNED: media.cpu,
  CPU_TIER1: media.cpu,
  HOST: media.cpu,
};

/** Whatever is neither the device nor host memory is further away. */
const mediumOfName = (name: string | null): Medium =>
  name === null ? media.gpu : (mediumNames[name.toUpperCase()] ?? media.storage);

const lowOf = (hex: string): number => Number.parseInt(hex.slice(-8), 16);
const highOf = (hex: string): number => (hex.length <= 8 ? 0 : Number.parseInt(hex.slice(-16, -8), 16));

function wordsOf(hashes: EngineHashes): Uint32Array {
  if (ArrayBuffer.isView(hashes)) return hashes;
  const words = new Uint32Array(hashes.length * 2);
  for (let i = 0; i < hashes.length; i++) {
    words[i * 2] = lowOf(hashes[i] as string);
    words[i * 2 + 1] = highOf(hashes[i] as string);
  }
  return words;
}

/** Brings the events of engines into the index: from their tokens to local hashes, from their hashes to what they hold. */
export class KvIdentity {
  readonly counts: IdentityCounts = { orphans: 0, misfits: 0, refused: 0, unknownRemovals: 0 };
  /** Of the blocks of one event that are stored at once. */
  readonly #hashes = new Float64Array(kvLimits.blocksAtOnce);
  /** Hashes of blocks that several events remove. */
  readonly #together = new Uint32Array(kvLimits.blocksAtOnce * 2);
  /** Where chains begin, by model and adapter. */
  readonly #roots = new Map<string, number>();

  constructor(readonly index: KvIndex) {}

  /** As `apply`, of a batch's events. Engines say each evicted block by itself: those that come together are removed together. */
  applyAll(holder: Holder, model: string, events: readonly CacheEvent[]): void {
    for (let i = 0; i < events.length;) {
      const event = events[i] as CacheEvent;
      let end = i + 1;
      if (event.type === 'BlockRemoved') while (end < events.length && alike(event, events[end] as CacheEvent)) end++;
      if (event.type === 'BlockRemoved' && end > i + 1) this.#removed(holder, event, events, i, end);
      else this.apply(holder, model, event);
      i = end;
    }
  }

  /** `model` is the base model's name, as routers hash with it. */
  apply(holder: Holder, model: string, event: CacheEvent): void {
    switch (event.type) {
      case 'AllBlocksCleared':
        this.index.clear(holder);
        // Nothing is there, and that is known.
        holder.exact = true;
        return;
      case 'BlockRemoved': {
        this.#drop(holder, event, wordsOf(event.blockHashes));
        return;
      }
      case 'BlockStored':
        this.#stored(holder, model, event);
    }
  }

  #removed(holder: Holder, first: RemovedBlocks, events: readonly CacheEvent[], from: number, end: number): void {
    const together = this.#together;
    let filled = 0;
    for (let i = from; i < end; i++) {
      const words = wordsOf((events[i] as RemovedBlocks).blockHashes);
      for (let at = 0; at < words.length; at += 2) {
        if (filled === together.length) {
          this.#drop(holder, first, together);
          filled = 0;
        }
        together[filled++] = words[at] as number;
        together[filled++] = words[at + 1] as number;
      }
    }
    this.#drop(holder, first, together.subarray(0, filled));
  }

  #drop(holder: Holder, { medium, groupIdx }: RemovedBlocks, words: Uint32Array): void {
    const { unknown } = this.index.dropRun(holder, words, mediumOfName(medium), groupIdx ?? 0);
    this.counts.unknownRemovals += unknown;
  }

  #stored(holder: Holder, model: string, event: StoredBlocks): void {
    const { tokenIds, blockSize } = event;
    const words = wordsOf(event.blockHashes);
    const blocks = words.length / 2;
    const group = event.groupIdx ?? 0;
    const medium = mediumOfName(event.medium);
    if (group >= kvLimits.groupsMax) return this.#lost(holder, 'misfits', blocks);
    // A copy to another medium comes without its tokens.
    if (tokenIds.length === 0) return this.#copied(holder, words, medium, group);
    if (holder.blockSize === 0 || holder.holdings.size === 0) holder.blockSize = blockSize;
    if (holder.blockSize !== blockSize || tokenIds.length !== blocks * blockSize) {
      return this.#lost(holder, 'misfits', blocks);
    }
    if (holder.slots[group] === undefined || holder.holdings.size === 0) {
      this.index.setGroup(holder, group, windowBlocks(event));
    }
    let hash = none;
    let row = none;
    if (event.parentBlockHash === null) hash = this.#root(model, adapterOf(event));
    else {
      const parent =
        typeof event.parentBlockHash === 'string' ? wordsOf([event.parentBlockHash]) : event.parentBlockHash;
      row = this.index.rowOf(holder, parent[0] as number, parent[1] as number);
      if (row === none) return this.#lost(holder, 'orphans', blocks);
      hash = this.index.hashAt(row);
    }
    const hashes = this.#hashes;
    for (let block = 0; block < blocks;) {
      const extra = extraOf(event, block);
      let count = 1;
      if (extra === null) {
        const countMax = Math.min(hashes.length, blocks - block);
        while (count < countMax && extraOf(event, block + count) === null) count++;
        chainBlocks(hash, tokenIds, block * blockSize, blockSize, hashes, count);
      } else hashes[0] = chainBlock(hash, tokenIds, block * blockSize, (block + 1) * blockSize, extra);
      const stored = this.index.storeRun(holder, words, block, hashes, count, medium, group, row);
      if (stored < count) return this.#lost(holder, 'refused', blocks - block - stored);
      block += count;
      if (block === blocks) return;
      hash = hashes[count - 1] as number;
      row = this.index.rowOf(holder, words[block * 2 - 2] as number, words[block * 2 - 1] as number);
    }
  }

  #copied(holder: Holder, words: Uint32Array, medium: Medium, group: number): void {
    for (let i = 0; i < words.length; i += 2) {
      const [low, high] = [words[i] as number, words[i + 1] as number];
      const row = this.index.rowOf(holder, low, high);
      if (row === none) this.#lost(holder, 'orphans', 1);
      else if (this.index.copy(holder, low, high, medium, group, row) === none) {
        this.#lost(holder, 'refused', 1);
      }
    }
  }

  #lost(holder: Holder, why: 'orphans' | 'misfits' | 'refused', blocks: number): void {
    this.counts[why] += blocks;
    holder.exact = false;
  }

  #root(model: string, adapter: string): number {
    const key = `${model}\0${adapter}`;
    let root = this.#roots.get(key);
    if (root === undefined) {
      root = chainRoot(model, adapter);
      if (this.#roots.size >= 4096) this.#roots.clear();
      this.#roots.set(key, root);
    }
    return root;
  }
}

const alike = (one: RemovedBlocks, other: CacheEvent): boolean =>
  other.type === 'BlockRemoved' && other.medium === one.medium && other.groupIdx === one.groupIdx;

/** An engine that only numbers its adapters has them apart, though no router can name them. */
const adapterOf = ({ loraName, loraId }: StoredBlocks): string => loraName ?? (loraId === null ? '' : `\0${loraId}`);

/** What else than the adapter is in a block: vLLM names that first among the keys of each, and it is in the chain's root already. */
function extraOf({ extraKeys, loraName }: StoredBlocks, block: number): readonly BlockExtra[] | null {
  const keys = extraKeys?.[block] ?? null;
  if (keys === null || keys.length === 0) return null;
  if (loraName === null || keys[0] !== loraName) return keys;
  return keys.length === 1 ? null : keys.slice(1);
}

/** How many blocks a group's attention looks back: 0 for all, also where the engine does not say, so that too little is claimed. */
function windowBlocks({ cacheSpecKind, slidingWindow, blockSize }: StoredBlocks): number {
  // A state-space layer goes on from the state behind its last block.
  if (cacheSpecKind === 'mamba') return 1;
  if (cacheSpecKind !== 'sliding_window' || slidingWindow === null) return 0;
  return Math.max(1, Math.ceil((slidingWindow - 1) / blockSize));
}
