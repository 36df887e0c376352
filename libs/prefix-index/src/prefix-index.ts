import { CodedError, NumberMap } from '#libs/kernel';
import type { BlockHashes } from './hash-blocks.ts';
import { prefixLimits } from './hash-blocks.ts';
import type { PrefixMatcher } from './matcher.ts';

const none = -1;
const roomMin = 1024;

/**
 * Which replicas are believed to have which blocks cached. Approximate: a block is noted when a request is sent, and forgotten when
 * it is the least recently used of too many; what an engine evicts by itself is not seen.
 *
 * A block is a row of a few arrays, linked in the order of use; the replicas that hold it are bits by slot, the first 32 in a
 * number of their own since most fleets need no more.
 */
export class PrefixIndex implements PrefixMatcher {
  readonly #rows = new NumberMap();
  #hash = new Float64Array(roomMin);
  #first = new Int32Array(roomMin);
  #newer = new Int32Array(roomMin);
  #older = new Int32Array(roomMin);
  readonly #more: (Uint32Array | undefined)[] = [];
  #oldest = none;
  #newest = none;
  /** Rows that were given back, and how many were ever used. */
  readonly #freeRows: number[] = [];
  #rowsUsed = 0;
  readonly #slots = new Map<string, number>();
  readonly #freeSlots: number[] = [];
  // Of the match at hand: which replicas are still in it.
  readonly #live: number[] = [];
  readonly #liveSlots: number[] = [];
  readonly #blocksMax: number;

  constructor(options: { blocksMax?: number } = {}) {
    this.#blocksMax = options.blocksMax ?? prefixLimits.blocksIndexedMax;
  }

  get size(): number {
    return this.#rows.size;
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
    const live = this.#live;
    const slots = this.#liveSlots;
    let left = 0;
    for (let i = 0; i < replicaIds.length; i++) {
      const slot = this.#slots.get(replicaIds[i] as string);
      if (slot === undefined) continue;
      live[left] = i;
      slots[left++] = slot;
    }
    for (let depth = 0; depth < blocks.length && left > 0; depth++) {
      const row = this.#rows.get(blocks[depth] as number);
      if (row === none) break;
      let kept = 0;
      for (let k = 0; k < left; k++) {
        const slot = slots[k] as number;
        if (!this.#has(row, slot)) continue;
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
      let row = this.#rows.get(hash);
      if (row === none) row = this.#add(hash);
      else if (row !== this.#newest) this.#unlink(row);
      this.#hold(row, slot);
      if (row !== this.#newest) this.#append(row);
    }
    while (this.#rows.size > this.#blocksMax) this.#remove(this.#oldest);
  }

  /** The replica restarted or is gone: it has nothing. Walks the whole index, which is rare. */
  forgetReplica(replicaId: string): void {
    const slot = this.#slots.get(replicaId);
    if (slot === undefined) return;
    for (let row = this.#oldest; row !== none;) {
      const next = this.#newer[row] as number;
      if (this.#drop(row, slot)) this.#remove(row);
      row = next;
    }
    this.#slots.delete(replicaId);
    this.#freeSlots.push(slot);
  }

  #has(row: number, slot: number): boolean {
    if (slot < 32) return ((this.#first[row] as number) & (1 << slot)) !== 0;
    return ((this.#more[row]?.[(slot >> 5) - 1] ?? 0) & (1 << (slot & 31))) !== 0;
  }

  #hold(row: number, slot: number): void {
    if (slot < 32) {
      this.#first[row]! |= 1 << slot;
      return;
    }
    const word = (slot >> 5) - 1;
    let more = this.#more[row];
    if (more === undefined || more.length <= word) {
      const grown = new Uint32Array(word + 1);
      if (more !== undefined) grown.set(more);
      this.#more[row] = more = grown;
    }
    more[word]! |= 1 << (slot & 31);
  }

  /** True when nobody holds the block any more. */
  #drop(row: number, slot: number): boolean {
    const more = this.#more[row];
    const word = (slot >> 5) - 1;
    if (slot < 32) this.#first[row]! &= ~(1 << slot);
    else if (more !== undefined && more.length > word) more[word]! &= ~(1 << (slot & 31));
    return this.#first[row] === 0 && (more?.every((bits) => bits === 0) ?? true);
  }

  #add(hash: number): number {
    const row = this.#freeRows.pop() ?? this.#rowsUsed++;
    if (row >= this.#hash.length) this.#grow();
    this.#hash[row] = hash;
    this.#first[row] = 0;
    // Where no replica beyond the first 32 is known it stays empty, whatever the number of rows.
    if (this.#more[row] !== undefined) this.#more[row] = undefined;
    this.#rows.set(hash, row);
    return row;
  }

  #remove(row: number): void {
    this.#unlink(row);
    this.#rows.delete(this.#hash[row] as number);
    this.#freeRows.push(row);
  }

  #append(row: number): void {
    this.#older[row] = this.#newest;
    this.#newer[row] = none;
    if (this.#newest === none) this.#oldest = row;
    else this.#newer[this.#newest] = row;
    this.#newest = row;
  }

  #unlink(row: number): void {
    const older = this.#older[row] as number;
    const newer = this.#newer[row] as number;
    if (older === none) this.#oldest = newer;
    else this.#newer[older] = newer;
    if (newer === none) this.#newest = older;
    else this.#older[newer] = older;
  }

  #grow(): void {
    const room = this.#hash.length * 2;
    const grown = <A extends Float64Array | Int32Array>(made: A, from: A): A => {
      made.set(from as never);
      return made;
    };
    this.#hash = grown(new Float64Array(room), this.#hash);
    this.#first = grown(new Int32Array(room), this.#first);
    this.#newer = grown(new Int32Array(room), this.#newer);
    this.#older = grown(new Int32Array(room), this.#older);
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
