/** Taken once: in the contexts of a test runner each look at a global is slow. */
const { imul } = Math;

export const none = -1;
const roomMin = 1024;
const golden = 0x9e3779b1;

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
 * Block hash → row, where rows number columns that others keep. A bucket holds a row and the hash's low word, so that a look at it
 * is enough to pass it over; rows hold the whole hashes: 20 bytes and the buckets' slack for each block. A row also remembers the row that last came behind it, so that walking down a prompt reads
 * memory in order instead of hashing at each step.
 */
export class BlockTable {
  hash = new Float64Array(roomMin);
  #next = new Int32Array(roomMin).fill(none);
  /** Two words each: row (-1 where there is none), low word of its hash. */
  #buckets = new Int32Array(roomMin * 4).fill(none);
  #mask = roomMin * 2 - 1;
  #shift = Math.clz32(roomMin * 2 - 1);
  #free = new Int32Array(16);
  #freed = 0;
  #used = 0;
  size = 0;

  constructor(private readonly onGrow: (rows: number) => void) {}

  get bytes(): number {
    return this.hash.byteLength + this.#next.byteLength + this.#buckets.byteLength + this.#free.byteLength;
  }

  /** Rows that were ever in use: columns are read up to here. */
  get rowsUsed(): number {
    return this.#used;
  }

  get(hash: number): number {
    const buckets = this.#buckets;
    const mask = this.#mask;
    const low = hash | 0;
    for (let at = this.#home(low); ; at = (at + 1) & mask) {
      const row = buckets[at * 2] as number;
      if (row === none || (buckets[at * 2 + 1] === low && this.hash[row] === hash)) return row;
    }
  }

  /** Looks at the buckets of hashes, so that their memory is at hand when each is found: misses that do not wait for each other. */
  touch(hashes: Float64Array, count: number): number {
    const buckets = this.#buckets;
    let seen = 0;
    for (let i = 0; i < count; i++) seen ^= buckets[this.#home((hashes[i] as number) | 0) * 2] as number;
    return seen;
  }

  touchRow(row: number): number {
    return this.#buckets[this.#home((this.hash[row] as number) | 0) * 2] as number;
  }

  /** As `get`, for the block behind the one in `parent`. */
  getAfter(parent: number, hash: number): number {
    if (parent !== none) {
      const guess = this.#next[parent] as number;
      if (guess !== none && this.hash[guess] === hash) return guess;
    }
    const row = this.get(hash);
    if (parent !== none && row !== none) this.#next[parent] = row;
    return row;
  }

  /** The row of a hash that is not there yet. Its columns hold what the row's last block left: nothing, as rows are freed empty. */
  add(hash: number, parent: number): number {
    const row = this.#freed > 0 ? (this.#free[--this.#freed] as number) : this.#used++;
    if (row >= this.hash.length) this.#grow();
    this.hash[row] = hash;
    this.#next[row] = none;
    if (parent !== none) this.#next[parent] = row;
    this.size++;
    this.#place(row, hash | 0);
    return row;
  }

  remove(row: number): void {
    const buckets = this.#buckets;
    const mask = this.#mask;
    let hole = this.#home((this.hash[row] as number) | 0);
    while (buckets[hole * 2] !== row) hole = (hole + 1) & mask;
    // What would not be found across the hole moves into it, so that no tombstones are needed.
    for (let at = (hole + 1) & mask; buckets[at * 2] !== none; at = (at + 1) & mask) {
      const home = this.#home(buckets[at * 2 + 1] as number);
      if (((at - home) & mask) < ((at - hole) & mask)) continue;
      buckets[hole * 2] = buckets[at * 2] as number;
      buckets[hole * 2 + 1] = buckets[at * 2 + 1] as number;
      hole = at;
    }
    buckets[hole * 2] = none;
    this.hash[row] = none;
    if (this.#freed >= this.#free.length) this.#free = grown(this.#free, this.#free.length * 2);
    this.#free[this.#freed++] = row;
    this.size--;
  }

  #place(row: number, low: number): void {
    const buckets = this.#buckets;
    const mask = this.#mask;
    let at = this.#home(low);
    while (buckets[at * 2] !== none) at = (at + 1) & mask;
    buckets[at * 2] = row;
    buckets[at * 2 + 1] = low;
  }

  #home(low: number): number {
    return imul(low, golden) >>> this.#shift;
  }

  #grow(): void {
    // A half more at a time: columns of a big index would else stand half empty. Buckets double, as their number is a power of two.
    const room = Math.ceil(this.hash.length * 1.5);
    this.hash = grown(this.hash, room);
    this.#next = grown(this.#next, room);
    this.onGrow(room);
    const buckets = this.#mask + 1;
    if (room * 1.25 <= buckets) return;
    this.#buckets = new Int32Array(buckets * 4).fill(none);
    this.#mask = buckets * 2 - 1;
    this.#shift--;
    // The row that is being added is placed by its own.
    for (let row = 0; row < this.#used - 1; row++) {
      const hash = this.hash[row] as number;
      if (hash !== none) this.#place(row, hash | 0);
    }
  }
}
