import { Band } from './band.ts';
import type { Entry, TurnOrder } from './entry.ts';
import type { FlowLimits } from './limits.ts';

const none: readonly Band[] = [];

/** The bands of requests that wait for the same replicas. */
export class Pool {
  waiting = 0;
  /** From the highest priority down. */
  readonly bands: Band[] = [];
  readonly #limits: FlowLimits;
  readonly #order: TurnOrder;

  constructor(
    readonly name: string,
    limits: FlowLimits,
    order: TurnOrder,
  ) {
    this.#limits = limits;
    this.#order = order;
  }

  band(priority: number): Band {
    const { bands } = this;
    for (const band of bands) if (band.priority === priority) return band;
    const band = new Band(this.name, priority, this.#order, this.#limits.tenantsMax);
    bands.push(band);
    bands.sort((a, b) => b.priority - a.priority);
    return band;
  }

  /** A band that was passed over too often comes first, the one longest so before others; then the highest. */
  next(fits: (entry: Entry<unknown>) => boolean): Entry<unknown> | undefined {
    const { skipsMax } = this.#limits;
    const overdue = this.#overdue();
    for (const band of overdue) {
      const found = band.next(fits, skipsMax);
      if (found !== undefined) return found;
    }
    for (const band of this.bands) {
      if (band.waiting === 0 || overdue.includes(band)) continue;
      const found = band.next(fits, skipsMax);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #overdue(): readonly Band[] {
    const { passedOverMax } = this.#limits;
    if (!this.bands.some((band) => band.waiting > 0 && band.passedOver >= passedOverMax)) return none;
    const overdue = this.bands.filter((band) => band.waiting > 0 && band.passedOver >= passedOverMax);
    return overdue.sort((a, b) => b.passedOver - a.passedOver);
  }

  /** One of this band goes: those below that wait have been passed over. */
  served(served: Band): void {
    served.passedOver = 0;
    for (const band of this.bands) if (band.priority < served.priority && band.waiting > 0) band.passedOver++;
  }

  forgetBefore(seenMs: number): void {
    for (const band of this.bands) band.forgetBefore(seenMs);
    const kept = this.bands.filter((band) => !band.empty);
    this.bands.splice(0, this.bands.length, ...kept);
  }
}
