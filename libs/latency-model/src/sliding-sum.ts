const slots = 16;

/** The sum of what was added over a window that moves in sixteenths. */
export class SlidingSum {
  readonly #sums = new Float64Array(slots);
  readonly #slotMs: number;
  /** Number of the newest slot since time 0. */
  #newest = Number.NaN;

  constructor(readonly windowMs: number) {
    this.#slotMs = windowMs / slots;
  }

  add(value: number, nowMs: number): void {
    this.#advance(nowMs);
    const slot = this.#newest % slots;
    this.#sums[slot] = (this.#sums[slot] as number) + value;
  }

  /** Spreads `value` over the slots of [fromMs, toMs]: for time that passed. What lies before the window is left out. */
  addOver(valuePerMs: number, fromMs: number, toMs: number): void {
    let from = Math.max(fromMs, toMs - this.windowMs);
    while (from < toMs) {
      const end = Math.min(toMs, (Math.floor(from / this.#slotMs) + 1) * this.#slotMs);
      // A step too small for the clock's own resolution ends the loop.
      if (!(end > from)) break;
      this.add(valuePerMs * (end - from), from);
      from = end;
    }
  }

  sum(nowMs: number): number {
    this.#advance(nowMs);
    let sum = 0;
    for (let slot = 0; slot < slots; slot++) sum += this.#sums[slot] as number;
    return sum;
  }

  #advance(nowMs: number): void {
    const slot = Math.floor(nowMs / this.#slotMs);
    if (slot === this.#newest) return;
    // A clock that went back adds to the newest slot.
    if (slot < this.#newest) return;
    if (Number.isNaN(this.#newest) || slot - this.#newest >= slots) this.#sums.fill(0);
    else for (let passed = this.#newest + 1; passed <= slot; passed++) this.#sums[passed % slots] = 0;
    this.#newest = slot;
  }
}
