import { CodedError } from '#libs/kernel';
import type { BlockHashes } from './hash-blocks.ts';
import { prefixLimits } from './hash-blocks.ts';

/** Which replicas hold a block: bits by slot, the first 32 in a number of their own since most fleets need no more. */
interface Block {
  first: number;
  more: Uint32Array | undefined;
}

/**
 * Which replicas are believed to have which blocks cached. Approximate: a block is noted when a request is sent, and forgotten when
 * it is the least recently used of too many; what an engine evicts by itself is not seen.
 */
export class PrefixIndex {
  /** In order of use, the least recent first. */
  readonly #blocks = new Map<number, Block>();
  readonly #slots = new Map<string, number>();
  readonly #freeSlots: number[] = [];
  readonly #blocksMax: number;

  constructor(options: { blocksMax?: number } = {}) {
    this.#blocksMax = options.blocksMax ?? prefixLimits.blocksIndexedMax;
  }

  get size(): number {
    return this.#blocks.size;
  }

  /**
   * How many leading blocks each replica has: `out[i]` for `replicaIds[i]`, 0 for one never heard of. A replica that lacks a block
   * has none after it, since blocks are chained.
   */
  match(
    blocks: BlockHashes,
    replicaIds: readonly string[],
    out: Float64Array = new Float64Array(replicaIds.length),
  ): Float64Array {
    out.fill(0, 0, replicaIds.length);
    const live: number[] = [];
    const slots: number[] = [];
    for (let i = 0; i < replicaIds.length; i++) {
      const slot = this.#slots.get(replicaIds[i] as string);
      if (slot === undefined) continue;
      live.push(i);
      slots.push(slot);
    }
    let left = live.length;
    for (let depth = 0; depth < blocks.length && left > 0; depth++) {
      const block = this.#blocks.get(blocks[depth] as number);
      if (block === undefined) break;
      let kept = 0;
      for (let k = 0; k < left; k++) {
        const slot = slots[k] as number;
        if (!has(block, slot)) continue;
        out[live[k] as number] = depth + 1;
        live[kept] = live[k] as number;
        slots[kept++] = slot;
      }
      left = kept;
    }
    return out;
  }

  /** Notes that the replica has, or is about to have, these blocks. They become the most recently used, deepest first to go. */
  insert(blocks: BlockHashes, replicaId: string): void {
    const slot = this.#slotOf(replicaId);
    // From the end, so that the start of a prompt outlives its tail.
    for (let depth = Math.min(blocks.length, this.#blocksMax) - 1; depth >= 0; depth--) {
      const hash = blocks[depth] as number;
      let block = this.#blocks.get(hash);
      if (block === undefined) block = { first: 0, more: undefined };
      else this.#blocks.delete(hash);
      add(block, slot);
      this.#blocks.set(hash, block);
    }
    while (this.#blocks.size > this.#blocksMax) this.#blocks.delete(this.#blocks.keys().next().value as number);
  }

  /** The replica restarted or is gone: it has nothing. Walks the whole index, which is rare. */
  forgetReplica(replicaId: string): void {
    const slot = this.#slots.get(replicaId);
    if (slot === undefined) return;
    for (const [hash, block] of this.#blocks) {
      remove(block, slot);
      if (isEmpty(block)) this.#blocks.delete(hash);
    }
    this.#slots.delete(replicaId);
    this.#freeSlots.push(slot);
  }

  #slotOf(replicaId: string): number {
    let slot = this.#slots.get(replicaId);
    if (slot !== undefined) return slot;
    slot = this.#freeSlots.pop() ?? this.#slots.size;
    if (slot >= prefixLimits.replicasMax) {
      throw new CodedError(
        'PREFIX_REPLICAS_TOO_MANY',
        `over ${prefixLimits.replicasMax} replicas in the prefix index`,
        {
          advice: 'Forget those that are gone.',
        },
      );
    }
    this.#slots.set(replicaId, slot);
    return slot;
  }
}

const has = (block: Block, slot: number): boolean =>
  slot < 32 ? (block.first & (1 << slot)) !== 0 : ((block.more?.[(slot >> 5) - 1] ?? 0) & (1 << (slot & 31))) !== 0;

function add(block: Block, slot: number): void {
  if (slot < 32) {
    block.first |= 1 << slot;
    return;
  }
  const word = (slot >> 5) - 1;
  if (block.more === undefined || block.more.length <= word) {
    const grown = new Uint32Array(word + 1);
    if (block.more !== undefined) grown.set(block.more);
    block.more = grown;
  }
  block.more[word] = (block.more[word] as number) | (1 << (slot & 31));
}

function remove(block: Block, slot: number): void {
  if (slot < 32) block.first &= ~(1 << slot);
  else if (block.more !== undefined && block.more.length > (slot >> 5) - 1) {
    const word = (slot >> 5) - 1;
    block.more[word] = (block.more[word] as number) & ~(1 << (slot & 31));
  }
}

const isEmpty = (block: Block): boolean => block.first === 0 && (block.more?.every((word) => word === 0) ?? true);
