import { grown } from './block-table.ts';

const { imul } = Math;

const none = -1;
const roomMin = 64;
const countMax = 0xffff;
/** Words of an entry: the engine's hash (low, high), the row (-1 where there is no entry), tag << 16 | count. */
const entryWords = 4;

/**
 * What one engine says it holds: its own hash of a block, medium and group → the block's row. The engine's hash is good for its
 * removals and parents and nothing else. 64 bits of it are kept, and how often it was stored: an engine that computed one block
 * twice removes it twice. 16 bytes each, side by side, so that one look at memory serves; half full at most, as runs of full places cost
 * more time than the room saves.
 */
export class Holdings {
  #entries = new Int32Array(roomMin * entryWords).fill(none);
  #mask = roomMin - 1;
  #shift = Math.clz32(roomMin - 1);
  size = 0;

  get bytes(): number {
    return this.#entries.byteLength;
  }

  /** Where it stands until the next change, or -1. */
  find(low: number, high: number, tag: number): number {
    const entries = this.#entries;
    const mask = this.#mask;
    for (let at = this.#home(low, high); ; at = (at + 1) & mask) {
      const word = at * entryWords;
      if (entries[word + 2] === none) return none;
      if (
        entries[word] === (low | 0) &&
        entries[word + 1] === (high | 0) &&
        (entries[word + 3] as number) >>> 16 === tag
      ) {
        return at;
      }
    }
  }

  /** Looks at where hashes stand or would, so that the memory is at hand when each is found: misses that do not wait for each other. */
  touch(words: Uint32Array, from: number, to: number): number {
    const entries = this.#entries;
    const mask = this.#mask;
    let seen = 0;
    for (let i = from * 2, end = to * 2; i < end; i += 2) {
      const home = this.#home(words[i] as number, words[i + 1] as number);
      // The next entries often lie on the next line.
      seen ^= (entries[home * entryWords] as number) ^ (entries[((home + 2) & mask) * entryWords] as number);
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
    if (this.size >= (this.#mask + 1) * 0.5) this.#grow();
    this.#place(low | 0, high | 0, row, (tag << 16) | count);
    this.size++;
  }

  again(at: number): void {
    if (this.count(at) < countMax) this.#entries[at * entryWords + 3]!++;
  }

  /** True when it was the last. */
  release(at: number): boolean {
    if (this.count(at) > 1) {
      this.#entries[at * entryWords + 3]!--;
      return false;
    }
    this.#delete(at);
    return true;
  }

  clear(): void {
    this.#resize(roomMin);
    this.size = 0;
  }

  /** In no order; nothing may change meanwhile. */
  forEach(visit: (low: number, high: number, tag: number, row: number, count: number) => void): void {
    for (let at = 0; at <= this.#mask; at++) if (this.row(at) !== none) this.#visit(at, visit);
  }

  /** In the order of rows, in which the blocks of a prompt stand together; nothing may change meanwhile. */
  forEachByRow(visit: (low: number, high: number, tag: number, row: number, count: number) => void): void {
    const room = this.#mask + 1;
    let keys = new Float64Array(roomMin);
    let used = 0;
    for (let at = 0; at < room; at++) {
      if (this.row(at) === none) continue;
      if (used >= keys.length) keys = grown(keys, Math.min(this.size, keys.length * 2));
      keys[used++] = this.row(at) * room + at;
    }
    for (const key of keys.subarray(0, used).sort()) this.#visit(key % room, visit);
  }

  #visit(at: number, visit: (low: number, high: number, tag: number, row: number, count: number) => void): void {
    const word = at * entryWords;
    const [low, high] = [this.#entries[word] as number, this.#entries[word + 1] as number];
    visit(low >>> 0, high >>> 0, (this.#entries[word + 3] as number) >>> 16, this.row(at), this.count(at));
  }

  #delete(at: number): void {
    const entries = this.#entries;
    const mask = this.#mask;
    let hole = at;
    // What would not be found across the hole moves into it, so that no tombstones are needed.
    for (let from = (hole + 1) & mask; entries[from * entryWords + 2] !== none; from = (from + 1) & mask) {
      const word = from * entryWords;
      const home = this.#home(entries[word] as number, entries[word + 1] as number);
      if (((from - home) & mask) < ((from - hole) & mask)) continue;
      const to = hole * entryWords;
      entries[to] = entries[word] as number;
      entries[to + 1] = entries[word + 1] as number;
      entries[to + 2] = entries[word + 2] as number;
      entries[to + 3] = entries[word + 3] as number;
      hole = from;
    }
    entries[hole * entryWords + 2] = none;
    this.size--;
  }

  #place(low: number, high: number, row: number, tagAndCount: number): void {
    const entries = this.#entries;
    const mask = this.#mask;
    let at = this.#home(low, high);
    while (entries[at * entryWords + 2] !== none) at = (at + 1) & mask;
    const word = at * entryWords;
    entries[word] = low;
    entries[word + 1] = high;
    entries[word + 2] = row;
    entries[word + 3] = tagAndCount;
  }

  #home(low: number, high: number): number {
    return imul(low ^ imul(high, 0x85ebca77), 0x9e3779b1) >>> this.#shift;
  }

  #resize(room: number): void {
    this.#entries = new Int32Array(room * entryWords).fill(none);
    this.#mask = room - 1;
    this.#shift = Math.clz32(room - 1);
  }

  #grow(): void {
    const from = this.#entries;
    this.#resize((this.#mask + 1) * 2);
    for (let word = 0; word < from.length; word += entryWords) {
      const row = from[word + 2] as number;
      if (row === none) continue;
      this.#place(from[word] as number, from[word + 1] as number, row, from[word + 3] as number);
    }
  }
}
