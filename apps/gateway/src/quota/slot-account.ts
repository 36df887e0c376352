import { windowStart } from '#libs/domain/tenancy';
import type { Account, Quota, UnderWay, Wanted } from './account.ts';
import { quotaBounds } from './limits.ts';

/** Requests under way at once. Slots are leased by windows and renewed; without a renewal nothing new begins, what runs goes on. */
export class SlotAccount implements Account {
  readonly kind = 'slots';
  active = false;
  outstanding = 0;
  lastAskedMs = 0;
  underWay: UnderWay | undefined;
  busy = false;
  retryAtMs = 0;
  failures = 0;
  readonly waiters = new Set<() => void>();
  #quota: Quota;
  #startMs = Number.NaN;
  #held = 0;
  #nextStartMs = Number.NaN;
  #next = 0;
  /** Most at once in this window. */
  #peak = 0;
  #needed = 0;
  #exhaustedUntilMs = 0;

  constructor(quota: Quota) {
    this.#quota = quota;
  }

  get quota(): Quota {
    return this.#quota;
  }

  adopt(quota: Quota): void {
    this.#quota = quota;
    this.#exhaustedUntilMs = 0;
  }

  has(units: number, nowMs: number): boolean {
    this.#roll(nowMs);
    return this.outstanding + units <= this.#held;
  }

  take(_units: number, nowMs: number): number {
    this.lastAskedMs = nowMs;
    this.#peak = Math.max(this.#peak, ++this.outstanding);
    return this.#startMs;
  }

  settle(): void {
    this.outstanding--;
  }

  credit(windowStartMs: number, slots: number, _leased: number | undefined, nowMs: number): void {
    this.#roll(nowMs);
    if (windowStartMs === this.#startMs) {
      this.#held = slots;
      this.#needed = 0;
    } else if (windowStartMs === this.#startMs + this.quota.windowMs) {
      this.#next = slots;
      this.#nextStartMs = windowStartMs;
    }
  }

  exhaust(windowStartMs: number, _needed: number, _remaining: number, nowMs: number): void {
    this.#roll(nowMs);
    this.#needed = 0;
    if (windowStartMs === this.#startMs) this.#exhaustedUntilMs = nowMs + quotaBounds.slotsRetryMs;
  }

  isExhausted(_units: number, nowMs: number): boolean {
    return nowMs < this.#exhaustedUntilMs;
  }

  need(units: number, nowMs: number, waits: boolean): void {
    this.lastAskedMs = nowMs;
    if (waits) this.#needed = Math.max(this.#needed, units);
  }

  tick(nowMs: number): void {
    this.#roll(nowMs);
  }

  wants(nowMs: number): Wanted | undefined {
    this.#roll(nowMs);
    const { windowMs, limit } = this.quota;
    const endMs = this.#startMs + windowMs;
    if (this.#needed > 0 && this.outstanding + this.#needed > this.#held && !this.isExhausted(1, nowMs)) {
      const unitsMin = this.outstanding + this.#needed;
      const units = Math.min(limit.amount, unitsMin + Math.ceil(this.outstanding / 2));
      return { windowStartMs: this.#startMs, units: Math.max(units, unitsMin), unitsMin };
    }
    const renews = Math.max(this.outstanding, this.#peak) > 0 && this.#nextStartMs !== endMs;
    if (renews && endMs - nowMs < quotaBounds.slotsAheadMs) {
      return { windowStartMs: endMs, units: Math.max(this.outstanding, this.#peak), unitsMin: 0 };
    }
    return undefined;
  }

  /** Slots come back by themselves: the next renewal takes fewer. */
  takeIdle(): undefined {
    return undefined;
  }

  isQuiet(nowMs: number): boolean {
    this.#roll(nowMs);
    return this.outstanding === 0 && this.#peak === 0 && this.#needed === 0 && this.underWay === undefined;
  }

  isForgettable(nowMs: number): boolean {
    const isIdle = nowMs - this.lastAskedMs > 3 * this.quota.windowMs;
    return isIdle && this.outstanding === 0 && this.underWay === undefined;
  }

  remaining(nowMs: number): number {
    this.#roll(nowMs);
    return Math.max(0, this.#held - this.outstanding);
  }

  resetMs(nowMs: number): number {
    return windowStart(this.quota.windowMs, nowMs) + this.quota.windowMs - nowMs;
  }

  #roll(nowMs: number): void {
    const { windowMs } = this.#quota;
    if (nowMs >= this.#startMs && nowMs < this.#startMs + windowMs) return;
    const startMs = windowStart(windowMs, nowMs);
    this.#held = startMs === this.#nextStartMs ? this.#next : 0;
    this.#startMs = startMs;
    this.#next = 0;
    this.#nextStartMs = Number.NaN;
    this.#peak = this.outstanding;
    this.#exhaustedUntilMs = 0;
  }
}
