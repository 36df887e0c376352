interface Slot {
  readyMs: number;
  users: number;
  usedMs: number;
}

/** Adapters in GPU slots. A slot in use is never taken; of the unused the least recently used makes room. */
export class LoraSlots {
  readonly #slots = new Map<string, Slot>();

  constructor(
    readonly slotsMax: number,
    readonly loadMs: number,
  ) {}

  /** What `request` would say, without starting a load; now where a load could start. */
  peek(name: string, nowMs: number): number {
    const present = this.#slots.get(name);
    if (present !== undefined) return present.readyMs;
    return this.#slots.size < this.slotsMax || this.#idle(nowMs) !== undefined ? nowMs : this.#retryMs();
  }

  /** When the adapter can be used, or asked for again: ≤ now is at once, later is "loading", Infinity is "no slot". Starts the load. */
  request(name: string, nowMs: number): number {
    const present = this.#slots.get(name);
    if (present !== undefined) return present.readyMs;
    if (this.#slots.size >= this.slotsMax) {
      const victim = this.#idle(nowMs);
      if (victim === undefined) return this.#retryMs();
      this.#slots.delete(victim);
    }
    const readyMs = nowMs + this.loadMs;
    this.#slots.set(name, { readyMs, users: 0, usedMs: nowMs });
    return readyMs;
  }

  use(name: string, nowMs: number): void {
    const slot = this.#slots.get(name)!;
    slot.users++;
    slot.usedMs = nowMs;
  }

  release(name: string): void {
    const slot = this.#slots.get(name);
    if (slot !== undefined) slot.users--;
  }

  /** Makes the next use load it again. False while it is in use. */
  unload(name: string): boolean {
    if ((this.#slots.get(name)?.users ?? 0) > 0) return false;
    return this.#slots.delete(name);
  }

  get resident(): string[] {
    return [...this.#slots.keys()];
  }

  /** The least recently used adapter that nobody uses. */
  #idle(nowMs: number): string | undefined {
    let victim: string | undefined;
    let oldestMs = Infinity;
    for (const [name, slot] of this.#slots) {
      if (slot.users === 0 && slot.readyMs <= nowMs && slot.usedMs < oldestMs) {
        victim = name;
        oldestMs = slot.usedMs;
      }
    }
    return victim;
  }

  /** When a slot that is loading for nobody becomes evictable. */
  #retryMs(): number {
    let retryMs = Infinity;
    for (const slot of this.#slots.values()) if (slot.users === 0) retryMs = Math.min(retryMs, slot.readyMs);
    return retryMs;
  }
}
