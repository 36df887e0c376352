import { NumberMap } from '#libs/kernel';

const none = -1;

/**
 * Paged KV blocks with a prefix cache. A block is free (reference count 0) or referenced; a free block may still hold a
 * known hash and is then evicted least recently freed first. Conservation: free + referenced = size, always.
 */
export class BlockPool {
  readonly size: number;
  readonly #references: Int32Array;
  readonly #hashes: Float64Array;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  readonly #byHash: NumberMap;
  readonly #evicted: (hash: number) => void;
  #head = none;
  #tail = none;
  #free = 0;

  constructor(size: number, evicted: (hash: number) => void) {
    this.size = size;
    this.#references = new Int32Array(size);
    this.#hashes = new Float64Array(size).fill(none);
    this.#next = new Int32Array(size).fill(none);
    this.#previous = new Int32Array(size).fill(none);
    this.#byHash = new NumberMap(size);
    this.#evicted = evicted;
    for (let block = 0; block < size; block++) this.#pushFree(block);
  }

  get free(): number {
    return this.#free;
  }

  get cached(): number {
    return this.#byHash.size;
  }

  find(hash: number): number | undefined {
    const block = this.#byHash.get(hash);
    return block < 0 ? undefined : block;
  }

  isFree(block: number): boolean {
    return this.#references[block] === 0;
  }

  /** One more reader of a cached block. */
  share(block: number): void {
    if (this.#references[block] === 0) this.#unlink(block);
    this.#references[block]!++;
  }

  /** Takes the least recently freed block and forgets what it held. The caller has checked `free`. */
  take(): number {
    const block = this.#head;
    if (block === none) throw new RangeError('no free KV block: check `free` first');
    this.#unlink(block);
    this.#forget(block);
    this.#references[block] = 1;
    return block;
  }

  /** Names a full block. False when another block already holds this hash; this one then stays nameless. */
  name(block: number, hash: number): boolean {
    if (this.#byHash.get(hash) >= 0) return false;
    this.#hashes[block] = hash;
    this.#byHash.set(hash, block);
    return true;
  }

  /** Gives one reference back. */
  release(block: number): void {
    const left = --this.#references[block]!;
    if (left < 0) throw new RangeError(`KV block ${block} released twice`);
    if (left === 0) this.#pushFree(block);
  }

  /** Forgets every hash, also of referenced blocks; those stay referenced. */
  clear(): void {
    this.#byHash.clear();
    this.#hashes.fill(none);
  }

  /** Throws when a law is broken. For tests. */
  check(): void {
    let referenced = 0;
    for (const count of this.#references) if (count > 0) referenced++;
    if (referenced + this.#free !== this.size) {
      throw new Error(`KV blocks: ${referenced} referenced + ${this.#free} free ≠ ${this.size}`);
    }
    let linked = 0;
    for (let block = this.#head; block !== none; block = this.#next[block]!) linked++;
    if (linked !== this.#free) throw new Error(`KV blocks: ${linked} in the free list, ${this.#free} counted`);
    this.#byHash.forEach((hash, block) => {
      if (this.#hashes[block] !== hash)
        throw new Error(`KV block ${block} is indexed under a hash that it does not hold`);
    });
  }

  #forget(block: number): void {
    const hash = this.#hashes[block]!;
    if (hash === none) return;
    this.#hashes[block] = none;
    this.#byHash.delete(hash);
    this.#evicted(hash);
  }

  #pushFree(block: number): void {
    this.#previous[block] = this.#tail;
    this.#next[block] = none;
    if (this.#tail === none) this.#head = block;
    else this.#next[this.#tail] = block;
    this.#tail = block;
    this.#free++;
  }

  #unlink(block: number): void {
    const before = this.#previous[block]!;
    const after = this.#next[block]!;
    if (before === none) this.#head = after;
    else this.#next[before] = after;
    if (after === none) this.#tail = before;
    else this.#previous[after] = before;
    this.#free--;
  }
}
