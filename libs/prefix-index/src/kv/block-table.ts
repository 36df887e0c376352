import { Buckets } from './buckets.ts';

export const none = -1;
const roomMin = 1024;

/** The same, with more room. */
export function grown<A extends Float64Array | Int32Array | Uint32Array | Uint16Array | Uint8Array>(
  from: A,
  room: number,
): A {
  const made = new (from.constructor as new (length: number) => A)(room);
  made.set(from as never);
  return made;
}

/**
 * Block hash → row, where rows number columns that others keep: 16 bytes, and the buckets' 8 to 16 for those in them. A block is found
 * from the one before it: the first that came behind a block is linked to that one's row and stands nowhere else, so that most blocks of
 * a prompt are stored, walked and removed in the order of memory, without a look at the buckets. Those at the start of a prompt or of a
 * branch, and those whose block before is gone, are in the buckets. `getAny` finds a block without the one before.
 *
 * Rows that were given up are used again, the last one first: a prompt's blocks, evicted from its end on, leave their place in its order.
 */
export class BlockTable {
  hash = new Float64Array(roomMin);
  /** The row behind it: the one that is linked to it, or the last that was found there. */
  #next = new Int32Array(roomMin);
  /** The row that it is linked to: live, and its next is this one. None for a row that is in the buckets. */
  #up = new Int32Array(roomMin);
  readonly #buckets = new Buckets();
  /** Rows in the buckets. */
  #placed = 0;
  /** Rows that were given up, the last one last. */
  #free = new Int32Array(16);
  #freed = 0;
  #used = 0;
  size = 0;

  constructor(private readonly onGrow: (rows: number) => void) {
    this.#buckets.reset(roomMin, roomMin);
  }

  get bytes(): number {
    const rows = this.hash.byteLength + this.#next.byteLength + this.#up.byteLength + this.#free.byteLength;
    return rows + this.#buckets.bytes;
  }

  /** Rows that were ever in use: columns are read up to here. */
  get rowsUsed(): number {
    return this.#used;
  }

  /**
   * The block of the hash in `hashes[at]` behind the one in `parent`; none, as `parent`, where it is the first of a prompt or the one before
   * is nowhere. A hash by itself would be boxed to be handed over.
   */
  get(parent: number, hashes: Float64Array, at: number): number {
    if (parent === none) return this.#inBuckets(hashes, at);
    const guess = this.#next[parent] as number;
    if (guess !== none && this.hash[guess] === hashes[at]) return guess;
    const row = this.#inBuckets(hashes, at);
    if (row !== none && !this.#leads(parent)) this.#next[parent] = row;
    return row;
  }

  /** Whatever came before it. Puts all rows into the buckets first, those that are not there yet. */
  getAny(hashes: Float64Array, at: number): number {
    if (this.#placed < this.size) this.#placeAll();
    return this.#inBuckets(hashes, at);
  }

  /** As `getAny`, by looking at all rows: for who asks once. */
  scan(hash: number): number {
    for (let row = 0; row < this.#used; row++) if (this.hash[row] === hash) return row;
    return none;
  }

  /**
   * Looks at the rows that are used next, so that their memory is at hand then: misses that do not wait for each other. A loop that does
   * nothing else, as a processor looks ahead over so many instructions and no more.
   */
  touchFree(count: number): number {
    const free = this.#free;
    const { hash } = this;
    const next = this.#next;
    let seen = 0;
    let sum = 0;
    for (let i = Math.max(0, this.#freed - count); i < this.#freed; i++) {
      const row = free[i] as number;
      sum += hash[row] as number;
      seen ^= next[row] as number;
    }
    return seen ^ sum;
  }

  /** Looks at what `remove` of rows will change. */
  touch(rows: Int32Array, count: number): number {
    const { words, mask } = this.#buckets;
    const { hash } = this;
    const up = this.#up;
    let seen = 0;
    for (let i = 0; i < count; i++) {
      const row = rows[i] as number;
      if (row !== none && up[row] === none) seen ^= words[(hash[row] as number) & mask] as number;
    }
    return seen;
  }

  /** The row of the hash in `hashes[at]`, which is not there yet. Its columns hold what the row's last block left: nothing, as rows are freed empty. */
  add(hashes: Float64Array, at: number, parent: number): number {
    const row = this.#freed > 0 ? (this.#free[--this.#freed] as number) : this.#used++;
    if (row >= this.hash.length) this.#grow();
    this.hash[row] = hashes[at] as number;
    this.#next[row] = none;
    this.size++;
    if (parent === none || this.#leads(parent)) this.#place(row);
    else {
      this.#up[row] = parent;
      this.#next[parent] = row;
    }
    return row;
  }

  remove(row: number): void {
    if (this.#leads(row)) this.#place(this.#next[row] as number);
    if (this.#up[row] === none) {
      this.#buckets.remove((this.hash[row] as number) | 0, row);
      this.#placed--;
    } else this.#up[row] = none;
    this.hash[row] = none;
    if (this.#freed >= this.#free.length) this.#free = grown(this.#free, this.#freed * 2);
    this.#free[this.#freed++] = row;
    this.size--;
  }

  /** Some row is linked to this one. */
  #leads(row: number): boolean {
    const next = this.#next[row] as number;
    return next !== none && this.#up[next] === row;
  }

  #inBuckets(hashes: Float64Array, at: number): number {
    const { words, mask, slotMask } = this.#buckets;
    const hash = hashes[at] as number;
    const low = hash | 0;
    for (let bucket = low & mask; ; bucket = (bucket + 1) & mask) {
      const word = words[bucket] as number;
      if (word === 0) return none;
      if (((word ^ low) & ~slotMask) !== 0) continue;
      const row = this.#buckets.slot(word);
      if (row >= 0 && this.hash[row] === hash) return row;
    }
  }

  #place(row: number): void {
    this.#up[row] = none;
    const room = this.#buckets.roomFor(this.#placed++);
    if (room > 0) this.#rebuild(room);
    else this.#buckets.place((this.hash[row] as number) | 0, row);
  }

  #placeAll(): void {
    for (let row = 0; row < this.#used; row++) {
      if (this.hash[row] !== none && this.#up[row] !== none) this.#place(row);
    }
  }

  #grow(): void {
    // A half more at a time: columns of a big index would else stand half empty.
    const room = Math.ceil(this.hash.length * 1.5);
    this.hash = grown(this.hash, room);
    this.#next = grown(this.#next, room);
    this.#up = grown(this.#up, room);
    this.onGrow(room);
    if (!this.#buckets.fits(room)) this.#rebuild(this.#buckets.mask + 1);
  }

  #rebuild(room: number): void {
    this.#buckets.reset(room, this.hash.length);
    for (let row = 0; row < this.#used; row++) {
      const hash = this.hash[row] as number;
      if (hash !== none && this.#up[row] === none) this.#buckets.place(hash | 0, row);
    }
  }
}
