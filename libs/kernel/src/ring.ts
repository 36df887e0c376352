/** A fixed-size FIFO. `push` on a full ring refuses and counts; nothing is overwritten. */
export class Ring<T> {
  readonly #slots: (T | undefined)[];
  #head = 0;
  #size = 0;
  #refused = 0;

  constructor(readonly capacity: number) {
    // oxlint-disable-next-line unicorn/no-new-array -- a length; Array.from walks it, and a gateway's ring is long
    this.#slots = new Array<T | undefined>(capacity);
  }

  get size(): number {
    return this.#size;
  }

  /** False when the ring is full: the item was refused and counted. */
  push(item: T): boolean {
    if (this.#size === this.capacity) {
      this.#refused++;
      return false;
    }
    this.#slots[(this.#head + this.#size) % this.capacity] = item;
    this.#size++;
    return true;
  }

  shift(): T | undefined {
    if (this.#size === 0) return undefined;
    const item = this.#slots[this.#head];
    this.#slots[this.#head] = undefined;
    this.#head = (this.#head + 1) % this.capacity;
    this.#size--;
    return item;
  }

  /** Refusals since the last call. */
  takeRefused(): number {
    const refused = this.#refused;
    this.#refused = 0;
    return refused;
  }
}
