/** Taken once: in the contexts of a test runner each look at a global is slow, and this is called for every token. */
const { imul } = Math;

const empty = -1;
const golden = 0x9e3779b1;
const roomMin = 16;

/**
 * From whole numbers in [0, 2⁵³) to 32-bit integers: open addressing in two typed arrays. Where keys are hashes that come and go by the
 * million, a Map boxes each of them, and leaves holes that every look at its first key walks over again.
 */
export class NumberMap {
  #keys: Float64Array;
  #values: Int32Array;
  #size = 0;
  #shift: number;

  /** Room for `expected` keys; grows where there come more. */
  constructor(expected = 0) {
    let room = roomMin;
    while (room < expected * 2) room *= 2;
    this.#keys = new Float64Array(room).fill(empty);
    this.#values = new Int32Array(room);
    this.#shift = Math.clz32(room - 1);
  }

  get size(): number {
    return this.#size;
  }

  /** -1 where the key is not there: values are ≥ 0. */
  get(key: number): number {
    const keys = this.#keys;
    const mask = keys.length - 1;
    for (let at = this.#home(key); ; at = (at + 1) & mask) {
      const found = keys[at] as number;
      if (found === key) return this.#values[at] as number;
      if (found === empty) return -1;
    }
  }

  set(key: number, value: number): void {
    if ((this.#size + 1) * 2 > this.#keys.length) this.#grow();
    const keys = this.#keys;
    const mask = keys.length - 1;
    let at = this.#home(key);
    while (keys[at] !== empty && keys[at] !== key) at = (at + 1) & mask;
    if (keys[at] === empty) this.#size++;
    keys[at] = key;
    this.#values[at] = value;
  }

  delete(key: number): boolean {
    const keys = this.#keys;
    const mask = keys.length - 1;
    let hole = this.#home(key);
    while (keys[hole] !== key) {
      if (keys[hole] === empty) return false;
      hole = (hole + 1) & mask;
    }
    // What stands behind the hole and would not be found across it moves into it, so that no tombstones are needed.
    for (let at = (hole + 1) & mask; keys[at] !== empty; at = (at + 1) & mask) {
      const home = this.#home(keys[at] as number);
      if (((at - home) & mask) < ((at - hole) & mask)) continue;
      keys[hole] = keys[at] as number;
      this.#values[hole] = this.#values[at] as number;
      hole = at;
    }
    keys[hole] = empty;
    this.#size--;
    return true;
  }

  clear(): void {
    this.#keys.fill(empty);
    this.#size = 0;
  }

  /** In no order. Nothing may be set or deleted meanwhile. */
  forEach(visit: (key: number, value: number) => void): void {
    for (let at = 0; at < this.#keys.length; at++) {
      if (this.#keys[at] !== empty) visit(this.#keys[at] as number, this.#values[at] as number);
    }
  }

  /** `>>> 0` takes the low 32 bits of a number of any size. */
  #home(key: number): number {
    return imul(key >>> 0, golden) >>> this.#shift;
  }

  #grow(): void {
    const keys = this.#keys;
    const values = this.#values;
    this.#keys = new Float64Array(keys.length * 2).fill(empty);
    this.#values = new Int32Array(keys.length * 2);
    this.#shift--;
    this.#size = 0;
    for (let at = 0; at < keys.length; at++) if (keys[at] !== empty) this.set(keys[at] as number, values[at] as number);
  }
}
