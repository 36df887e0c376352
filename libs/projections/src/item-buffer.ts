import type { Item } from './projection.ts';
import { itemBytes } from './projection.ts';

interface Gate {
  readonly promise: Promise<void>;
  readonly open: () => void;
}

function gate(): Gate {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { promise, open: resolve };
}

/** Items between a source that pushes and a fold that takes; a full buffer holds the source back. */
export class ItemBuffer<I extends Item> {
  #items: I[] = [];
  #bytes = 0;
  #lastSeq = 0;
  #started = false;
  #closed = false;
  #filled = gate();
  #drained: Gate | undefined;
  readonly #closing = gate();

  constructor(
    readonly capacity: number,
    readonly bytesMax: number = Number.POSITIVE_INFINITY,
  ) {}

  get size(): number {
    return this.#items.length;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get whenClosed(): Promise<void> {
    return this.#closing.promise;
  }

  /** Last sequence that was let in. */
  get lastSeq(): number {
    return this.#lastSeq;
  }

  /** The first call says where to begin; later ones change nothing, since what is buffered is still to be folded. */
  startAfter(seq: number): void {
    if (this.#started) return;
    this.#started = true;
    this.#lastSeq = seq;
  }

  /** Resolves when there is room for more. An item that was there before is let go: a source may start over. */
  push(item: I): Promise<void> | undefined {
    if (this.#closed || item.seq <= this.#lastSeq) return undefined;
    this.#lastSeq = item.seq;
    this.#items.push(item);
    this.#bytes += itemBytes(item);
    this.#filled.open();
    if (this.#hasRoom()) return undefined;
    this.#drained ??= gate();
    return this.#drained.promise;
  }

  /** Resolves when there are items or the buffer is closed. */
  whenFilled(): Promise<void> {
    return this.#filled.promise;
  }

  /** At least one where there is one, whatever its size. */
  take(countMax: number, bytesMax: number = Number.POSITIVE_INFINITY): I[] {
    let count = 0;
    let bytes = 0;
    while (count < this.#items.length && count < countMax && (count === 0 || bytes < bytesMax)) {
      bytes += itemBytes(this.#items[count++] as I);
    }
    const taken = this.#items.splice(0, count);
    this.#bytes -= bytes;
    if (this.#items.length === 0 && !this.#closed) this.#filled = gate();
    if (this.#hasRoom()) {
      this.#drained?.open();
      this.#drained = undefined;
    }
    return taken;
  }

  #hasRoom(): boolean {
    return this.#items.length < this.capacity && this.#bytes < this.bytesMax;
  }

  close(): void {
    this.#closed = true;
    this.#filled.open();
    this.#drained?.open();
    this.#closing.open();
  }
}
