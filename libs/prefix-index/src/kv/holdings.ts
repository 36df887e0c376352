const { imul } = Math;

const none = -1;
const roomMin = 64;
const countMax = 0xffff;

/**
 * What one engine says it holds: its own hash of a block, medium and group → the block's row. The engine's hash is good for its
 * removals and parents and nothing else. 64 bits of it are kept in two words, and how often it was stored: an engine that computed
 * one block twice removes it twice. 15 bytes and slack for each.
 */
export class Holdings {
  #low = new Uint32Array(roomMin);
  #high = new Uint32Array(roomMin);
  #rows = new Int32Array(roomMin).fill(none);
  #counts = new Uint16Array(roomMin);
  #tags = new Uint8Array(roomMin);
  #shift = Math.clz32(roomMin - 1);
  size = 0;

  get bytes(): number {
    return this.#low.length * 15;
  }

  /** Where it stands until the next change, or -1. */
  find(low: number, high: number, tag: number): number {
    const mask = this.#low.length - 1;
    for (let at = this.#home(low, high); this.#rows[at] !== none; at = (at + 1) & mask) {
      if (this.#low[at] === low && this.#high[at] === high && this.#tags[at] === tag) return at;
    }
    return none;
  }

  row(at: number): number {
    return this.#rows[at] as number;
  }

  count(at: number): number {
    return this.#counts[at] as number;
  }

  add(low: number, high: number, tag: number, row: number, count = 1): void {
    if (this.size >= this.#low.length * 0.75) this.#grow();
    const mask = this.#low.length - 1;
    let at = this.#home(low, high);
    while (this.#rows[at] !== none) at = (at + 1) & mask;
    this.#put(at, low, high, tag, row, count);
    this.size++;
  }

  again(at: number): void {
    if (this.count(at) < countMax) this.#counts[at]!++;
  }

  /** True when it was the last. */
  release(at: number): boolean {
    if (--this.#counts[at]! > 0) return false;
    this.#delete(at);
    return true;
  }

  clear(): void {
    this.#low = new Uint32Array(roomMin);
    this.#high = new Uint32Array(roomMin);
    this.#rows = new Int32Array(roomMin).fill(none);
    this.#counts = new Uint16Array(roomMin);
    this.#tags = new Uint8Array(roomMin);
    this.#shift = Math.clz32(roomMin - 1);
    this.size = 0;
  }

  /** In no order; nothing may change meanwhile. */
  forEach(visit: (low: number, high: number, tag: number, row: number, count: number) => void): void {
    for (let at = 0; at < this.#low.length; at++) {
      if (this.#rows[at] === none) continue;
      visit(this.#low[at] as number, this.#high[at] as number, this.#tags[at] as number, this.row(at), this.count(at));
    }
  }

  #put(at: number, low: number, high: number, tag: number, row: number, count: number): void {
    this.#low[at] = low;
    this.#high[at] = high;
    this.#tags[at] = tag;
    this.#rows[at] = row;
    this.#counts[at] = count;
  }

  #delete(at: number): void {
    const mask = this.#low.length - 1;
    let hole = at;
    for (let from = (hole + 1) & mask; this.#rows[from] !== none; from = (from + 1) & mask) {
      const home = this.#home(this.#low[from] as number, this.#high[from] as number);
      if (((from - home) & mask) < ((from - hole) & mask)) continue;
      const [low, high, tag] = [this.#low[from] as number, this.#high[from] as number, this.#tags[from] as number];
      this.#put(hole, low, high, tag, this.row(from), this.count(from));
      hole = from;
    }
    this.#rows[hole] = none;
    this.size--;
  }

  #home(low: number, high: number): number {
    return imul(low ^ imul(high, 0x85ebca77), 0x9e3779b1) >>> this.#shift;
  }

  #grow(): void {
    const room = this.#low.length * 2;
    const [lows, highs, rows, counts, tags] = [this.#low, this.#high, this.#rows, this.#counts, this.#tags];
    this.#low = new Uint32Array(room);
    this.#high = new Uint32Array(room);
    this.#rows = new Int32Array(room).fill(none);
    this.#counts = new Uint16Array(room);
    this.#tags = new Uint8Array(room);
    this.#shift--;
    this.size = 0;
    for (let at = 0; at < rows.length; at++) {
      if (rows[at] === none) continue;
      this.add(lows[at] as number, highs[at] as number, tags[at] as number, rows[at] as number, counts[at]);
    }
  }
}
