import type { KvEvent } from '#libs/engine-model';
import type { BlockHashes, CacheEvent } from '#libs/prefix-index';
import { hashTokens, KvIdentity, KvIndex } from '#libs/prefix-index';
import type { PrefixKnowledge } from './knowledge.ts';
import { fleetSimLimits as limits } from './limits.ts';

interface Told {
  readonly replica: number;
  readonly events: readonly KvEvent[];
  readonly visibleMs: number;
}

/** As the gateway folds the engines' KV events: the same index and identities, `kvEventDelayMs` after each happened. */
export class PreciseKnowledge implements PrefixKnowledge {
  readonly index = new KvIndex();
  readonly identity = new KvIdentity(this.index);
  #told: Told[] = [];
  #blocks: BlockHashes = new Float64Array(0);

  constructor(
    private readonly replicaIds: readonly string[],
    readonly blockTokens: number,
  ) {
    // Engines begin empty, and all that follows is heard.
    for (const id of replicaIds) this.index.holder(id).exact = true;
  }

  /** An engine tells what it stored and removed. In the order of time. */
  told(replica: number, events: readonly KvEvent[], nowMs: number): void {
    this.#told.push({ replica, events, visibleMs: nowMs + limits.kvEventDelayMs });
  }

  ask(tokens: Int32Array, depths: Float64Array, nowMs: number): number {
    this.#fold(nowMs);
    // The engine computes the last token anew always.
    const usable = Math.floor((tokens.length - 1) / this.blockTokens) * this.blockTokens;
    this.#blocks = hashTokens({ model: '' }, tokens.subarray(0, usable), this.blockTokens);
    this.index.match(this.#blocks, this.replicaIds, depths);
    return this.#blocks.length;
  }

  dispatched(replica: number, nowMs: number): void {
    this.index.insert(this.#blocks, this.replicaIds[replica] as string, nowMs);
  }

  #fold(nowMs: number): void {
    let due = 0;
    for (; due < this.#told.length; due++) {
      const { replica, events, visibleMs } = this.#told[due] as Told;
      if (visibleMs > nowMs) break;
      const holder = this.index.holder(this.replicaIds[replica] as string);
      for (const event of events) this.identity.apply(holder, '', cacheEvent(event));
    }
    if (due > 0) this.#told = this.#told.slice(due);
  }
}

const twoTo32 = 2 ** 32;

function wordsOf(hashes: readonly number[]): Uint32Array {
  const words = new Uint32Array(hashes.length * 2);
  for (const [at, hash] of hashes.entries()) {
    words[at * 2] = hash % twoTo32;
    words[at * 2 + 1] = Math.floor(hash / twoTo32);
  }
  return words;
}

/** An event of the model as one that was read from a real engine. */
function cacheEvent(event: KvEvent): CacheEvent {
  switch (event.type) {
    case 'AllBlocksCleared':
      return event;
    case 'BlockRemoved':
      return { type: event.type, blockHashes: wordsOf(event.hashes), medium: 'GPU', groupIdx: 0 };
    case 'BlockStored': {
      const { hashes, parentHash, tokens, blockSize, adapter, cacheSalt } = event;
      return {
        type: event.type,
        blockHashes: wordsOf(hashes),
        parentBlockHash: parentHash === undefined ? null : wordsOf([parentHash]),
        tokenIds: tokens,
        blockSize,
        loraId: null,
        loraName: adapter ?? null,
        medium: 'GPU',
        extraKeys: cacheSalt === undefined ? null : hashes.map((_, at) => (at === 0 ? [cacheSalt] : null)),
        groupIdx: 0,
        cacheSpecKind: 'full_attention',
        slidingWindow: null,
      };
    }
  }
}
