import { NumberMap } from '#libs/kernel';

/** Past this many half-lives from the origin all weights are brought down together. */
const halfLivesMax = 256;
const none = -1;

/**
 * How often keys come, each coming worth half after a half-life, in bounded memory: space-saving. Who comes when all places are taken
 * takes over the least one's count, and that much of its own is then not certain. Newer comings weigh more instead of older ones less,
 * so that nothing needs to be touched as time goes by.
 */
export class DecayedCounts {
  readonly #slots: NumberMap;
  readonly #keys: Float64Array;
  readonly #counts: Float64Array;
  readonly #errors: Float64Array;
  /** Slots as a heap, the least count first, and where each slot stands in it. */
  readonly #heap: Int32Array;
  readonly #place: Int32Array;
  #size = 0;
  #originMs = 0;

  constructor(
    private readonly capacity: number,
    private readonly halfLifeMs: number,
  ) {
    this.#slots = new NumberMap(capacity);
    this.#keys = new Float64Array(capacity);
    this.#counts = new Float64Array(capacity);
    this.#errors = new Float64Array(capacity);
    this.#heap = new Int32Array(capacity);
    this.#place = new Int32Array(capacity);
  }

  get size(): number {
    return this.#size;
  }

  has(key: number): boolean {
    return this.#slots.get(key) !== none;
  }

  add(key: number, nowMs: number): void {
    const weight = this.#weightAt(nowMs);
    let slot = this.#slots.get(key);
    if (slot === none) slot = this.#take(key);
    this.#counts[slot]! += weight;
    this.#sink(this.#place[slot] as number);
  }

  /** What is certain of a key's count, as of now; 0 for one without a place. */
  sure(key: number, nowMs: number): number {
    const slot = this.#slots.get(key);
    if (slot === none) return 0;
    return ((this.#counts[slot] as number) - (this.#errors[slot] as number)) / this.#weightAt(nowMs);
  }

  clear(): void {
    this.#slots.clear();
    this.#size = 0;
  }

  #weightAt(nowMs: number): number {
    if (this.#size === 0) this.#originMs = nowMs;
    const halfLives = (nowMs - this.#originMs) / this.halfLifeMs;
    if (halfLives <= halfLivesMax) return 2 ** halfLives;
    const scale = 2 ** -halfLives;
    for (let slot = 0; slot < this.#size; slot++) {
      this.#counts[slot]! *= scale;
      this.#errors[slot]! *= scale;
    }
    this.#originMs = nowMs;
    return 1;
  }

  #take(key: number): number {
    let slot: number;
    if (this.#size < this.capacity) {
      slot = this.#size++;
      this.#counts[slot] = this.#errors[slot] = 0;
      this.#heap[slot] = slot;
      this.#place[slot] = slot;
      this.#rise(slot);
    } else {
      slot = this.#heap[0] as number;
      this.#slots.delete(this.#keys[slot] as number);
      this.#errors[slot] = this.#counts[slot] as number;
    }
    this.#keys[slot] = key;
    this.#slots.set(key, slot);
    return slot;
  }

  #rise(from: number): void {
    for (let at = from; at > 0;) {
      const parent = (at - 1) >> 1;
      if (this.#countAt(parent) <= this.#countAt(at)) return;
      this.#swap(parent, at);
      at = parent;
    }
  }

  #sink(from: number): void {
    for (let at = from; ;) {
      let least = at;
      const left = at * 2 + 1;
      if (left < this.#size && this.#countAt(left) < this.#countAt(least)) least = left;
      if (left + 1 < this.#size && this.#countAt(left + 1) < this.#countAt(least)) least = left + 1;
      if (least === at) return;
      this.#swap(least, at);
      at = least;
    }
  }

  #countAt(place: number): number {
    return this.#counts[this.#heap[place] as number] as number;
  }

  #swap(a: number, b: number): void {
    const [one, other] = [this.#heap[a] as number, this.#heap[b] as number];
    this.#heap[a] = other;
    this.#heap[b] = one;
    this.#place[other] = a;
    this.#place[one] = b;
  }
}
