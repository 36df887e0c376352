/** What stands in heaps knows its place in each, or -1. */
export interface Placed {
  readonly places: number[];
}

/** Binary min-heap out of which anything can be taken in O(log n). An item stands in several heaps, each with a slot of its own. */
export class PlaceHeap<T extends Placed> {
  readonly #items: T[] = [];
  readonly #slot: number;
  readonly #before: (a: T, b: T) => boolean;

  /** `before` is a strict order. */
  constructor(slot: number, before: (a: T, b: T) => boolean) {
    this.#slot = slot;
    this.#before = before;
  }

  get size(): number {
    return this.#items.length;
  }

  peek(): T | undefined {
    return this.#items[0];
  }

  has(item: T): boolean {
    return (item.places[this.#slot] ?? -1) >= 0;
  }

  push(item: T): void {
    this.#items.push(item);
    this.#up(item, this.#items.length - 1);
  }

  pop(): T | undefined {
    const top = this.#items[0];
    if (top !== undefined) this.remove(top);
    return top;
  }

  remove(item: T): void {
    const at = item.places[this.#slot] ?? -1;
    if (at < 0) return;
    item.places[this.#slot] = -1;
    const last = this.#items.pop() as T;
    if (last === item) return;
    this.#settle(last, at);
  }

  /** Its rank has changed. */
  moved(item: T): void {
    const at = item.places[this.#slot] ?? -1;
    if (at >= 0) this.#settle(item, at);
  }

  /** In no order. Nothing may be added or removed meanwhile. */
  forEach(visit: (item: T) => void): void {
    for (const item of this.#items) visit(item);
  }

  #settle(item: T, at: number): void {
    const parent = (at - 1) >> 1;
    if (at > 0 && this.#before(item, this.#items[parent] as T)) this.#up(item, at);
    else this.#down(item, at);
  }

  #up(item: T, from: number): void {
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#before(item, this.#items[parent] as T)) break;
      this.#put(this.#items[parent] as T, at);
      at = parent;
    }
    this.#put(item, at);
  }

  #down(item: T, from: number): void {
    const items = this.#items;
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && this.#before(items[child + 1] as T, items[child] as T)) child++;
      if (!this.#before(items[child] as T, item)) break;
      this.#put(items[child] as T, at);
      at = child;
    }
    this.#put(item, at);
  }

  #put(item: T, at: number): void {
    this.#items[at] = item;
    item.places[this.#slot] = at;
  }
}
