import { grown } from './block-table.ts';
import { Buckets } from './buckets.ts';

const { imul } = Math;

const none = -1;
const roomMin = 32;
const countMax = 0xffff;
/** Words of an entry: the engine's hash (low, high), the row (-1 where there is no entry), tag << 16 | count. */
const entryWords = 4;

/** Engines may number their hashes in any way: all bits of them come into those that choose a bucket. */
function mixed(low: number, high: number): number {
  const all = imul(low ^ imul(high, 0x85ebca77), 0x9e3779b1);
  return all ^ (all >>> 15);
}

/**
 * What one engine says it holds: its own hash of a block, medium and group → the block's row. The engine's hash is good for its
 * removals and parents and nothing else. 64 bits of it are kept, and how often it was stored: an engine that computed one block
 * twice removes it twice. 16 bytes each and the buckets' 8 to 16. Entries that were given up are used again, the last one first, so that
 * those of one prompt mostly lie side by side.
 */
export class Holdings {
  #entries = new Int32Array(roomMin * entryWords);
  readonly #buckets = new Buckets();
  /** Entries that were given up, the last one last. */
  #free = new Int32Array(16);
  #freed = 0;
  #used = 0;
  size = 0;

  get bytes(): number {
    return this.#entries.byteLength + this.#buckets.bytes + this.#free.byteLength;
  }

  /** Where it stands until it is released, or -1. */
  find(low: number, high: number, tag: number): number {
    const { words, mask, slotMask } = this.#buckets;
    const hash = mixed(low, high);
    for (let bucket = hash & mask; ; bucket = (bucket + 1) & mask) {
      const word = words[bucket] as number;
      if (word === 0) return none;
      if (((word ^ hash) & ~slotMask) !== 0) continue;
      const at = this.#buckets.slot(word);
      if (at >= 0 && this.is(at, low, high, tag)) return at;
    }
  }

  /** Looks at where hashes stand or would, so that the memory is at hand when each is found: misses that do not wait for each other. */
  touch(hashes: Uint32Array, from: number, to: number): number {
    const { words, mask } = this.#buckets;
    let seen = 0;
    for (let i = from * 2, end = to * 2; i < end; i += 2) {
      seen ^= words[mixed(hashes[i] as number, hashes[i + 1] as number) & mask] as number;
    }
    return seen;
  }

  /** Looks at the entries that `find` will, most of them: where the bucket that it looks at first has the one. */
  touchEntries(hashes: Uint32Array, from: number, to: number): number {
    const { words, mask } = this.#buckets;
    const entries = this.#entries;
    let seen = 0;
    for (let i = from * 2, end = to * 2; i < end; i += 2) {
      const word = words[mixed(hashes[i] as number, hashes[i + 1] as number) & mask] as number;
      const at = this.#buckets.slot(word);
      if (at >= 0) seen ^= entries[at * entryWords] as number;
    }
    return seen;
  }

  /** Looks at the entries that are used next. */
  touchFree(count: number): number {
    const free = this.#free;
    const entries = this.#entries;
    let seen = 0;
    for (let i = Math.max(0, this.#freed - count); i < this.#freed; i++) {
      seen ^= entries[(free[i] as number) * entryWords] as number;
    }
    return seen;
  }

  is(at: number, low: number, high: number, tag: number): boolean {
    const entries = this.#entries;
    const word = at * entryWords;
    return (
      entries[word] === (low | 0) &&
      entries[word + 1] === (high | 0) &&
      entries[word + 2] !== none &&
      (entries[word + 3] as number) >>> 16 === tag
    );
  }

  row(at: number): number {
    return this.#entries[at * entryWords + 2] as number;
  }

  count(at: number): number {
    return (this.#entries[at * entryWords + 3] as number) & countMax;
  }

  /** What is not there yet. */
  add(low: number, high: number, tag: number, row: number, count = 1): void {
    const room = this.#buckets.roomFor(this.size);
    if (room > 0) this.#rebuild(room);
    const at = this.#freed > 0 ? (this.#free[--this.#freed] as number) : this.#used++;
    if (at * entryWords >= this.#entries.length) this.#entries = grown(this.#entries, Math.ceil(at * 1.5) * entryWords);
    const entries = this.#entries;
    const word = at * entryWords;
    entries[word] = low;
    entries[word + 1] = high;
    entries[word + 2] = row;
    entries[word + 3] = (tag << 16) | count;
    this.#buckets.place(mixed(low, high), at);
    this.size++;
  }

  again(at: number): void {
    if (this.count(at) < countMax) this.#entries[at * entryWords + 3]!++;
  }

  /** True when it was the last. */
  release(at: number): boolean {
    const entries = this.#entries;
    const word = at * entryWords;
    if (this.count(at) > 1) {
      entries[word + 3]!--;
      return false;
    }
    this.#buckets.remove(mixed(entries[word] as number, entries[word + 1] as number), at);
    entries[word + 2] = none;
    if (this.#freed >= this.#free.length) this.#free = grown(this.#free, this.#freed * 2);
    this.#free[this.#freed++] = at;
    this.size--;
    return true;
  }

  clear(): void {
    this.#entries = new Int32Array(roomMin * entryWords);
    this.#buckets.reset();
    this.#free = new Int32Array(16);
    this.#freed = 0;
    this.#used = 0;
    this.size = 0;
  }

  /** In no order; nothing may change meanwhile. */
  forEach(visit: (low: number, high: number, tag: number, row: number, count: number) => void): void {
    for (let at = 0; at < this.#used; at++) if (this.row(at) !== none) this.#visit(at, visit);
  }

  /** In the order of rows, in which the blocks of a prompt stand together; nothing may change meanwhile. */
  forEachByRow(visit: (low: number, high: number, tag: number, row: number, count: number) => void): void {
    const keys = new Float64Array(this.size);
    let filled = 0;
    for (let at = 0; at < this.#used; at++) {
      if (this.row(at) !== none) keys[filled++] = this.row(at) * this.#used + at;
    }
    for (const key of keys.sort()) this.#visit(key % this.#used, visit);
  }

  #visit(at: number, visit: (low: number, high: number, tag: number, row: number, count: number) => void): void {
    const word = at * entryWords;
    const [low, high] = [this.#entries[word] as number, this.#entries[word + 1] as number];
    visit(low >>> 0, high >>> 0, (this.#entries[word + 3] as number) >>> 16, this.row(at), this.count(at));
  }

  #rebuild(room: number): void {
    this.#buckets.reset(room);
    const entries = this.#entries;
    for (let at = 0, word = 0; at < this.#used; at++, word += entryWords) {
      if (entries[word + 2] !== none)
        this.#buckets.place(mixed(entries[word] as number, entries[word + 1] as number), at);
    }
  }
}
