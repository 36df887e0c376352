/** What stands in a list knows its place, or -1. */
export interface Listed {
  place: number;
}

/** What is under way in a data plane. */
export interface Served extends Listed {
  /** Called now and then: what is too late ends. */
  sweep(nowMs: number): void;
  /** The gateway stops and waits no longer. */
  abort(): void;
}

/**
 * Requests under way, added and removed in constant time. Not a Set: one that sees an add and a delete for each request is rehashed
 * over and over, and its old tables keep what they held alive past many minor collections.
 */
export class ActiveList<T extends Listed> {
  readonly #items: T[] = [];

  get size(): number {
    return this.#items.length;
  }

  add(item: T): void {
    item.place = this.#items.length;
    this.#items.push(item);
  }

  /** The last one takes the place of the removed one. */
  remove(item: T): void {
    const { place } = item;
    if (place < 0) return;
    const last = this.#items.pop() as T;
    item.place = -1;
    if (last === item) return;
    this.#items[place] = last;
    last.place = place;
  }

  /** Visits each, from the last: the visit may remove the one visited. */
  forEach(visit: (item: T) => void): void {
    for (let place = this.#items.length - 1; place >= 0; place--) visit(this.#items[place] as T);
  }
}
