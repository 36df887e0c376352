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
  /** Requests that found none since the last lease was asked for. */
  #needed = 0;
  /** Slots asked for ahead of need; fewer came: others need them. */
  #askedAhead = 0;
  #scarceUntilMs = 0;
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
    if (slots < this.#askedAhead) this.#scarceUntilMs = nowMs + this.quota.windowMs;
    if (windowStartMs === this.#startMs) {
      // The log takes back nothing of a window that is in use.
      this.#held = Math.max(this.#held, slots);
      this.#needed = 0;
    } else if (windowStartMs === this.#startMs + this.quota.windowMs) {
      this.#next = slots;
      this.#nextStartMs = windowStartMs;
    }
  }

  exhaust(windowStartMs: number, _needed: number, _remaining: number, nowMs: number): void {
    this.#roll(nowMs);
    this.#needed = 0;
    this.#scarceUntilMs = nowMs + this.quota.windowMs;
    if (windowStartMs === this.#startMs) this.#exhaustedUntilMs = nowMs + quotaBounds.slotsRetryMs;
  }

  isExhausted(_units: number, nowMs: number): boolean {
    return nowMs < this.#exhaustedUntilMs;
  }

  need(units: number, nowMs: number, waits: boolean): void {
    this.lastAskedMs = nowMs;
    if (waits) this.#needed += units;
  }

  tick(nowMs: number): void {
    this.#roll(nowMs);
  }

  wants(nowMs: number, roundTripMs: number): Wanted | undefined {
    this.#roll(nowMs);
    const { windowMs, limit } = this.quota;
    const { slotsAheadMs, slotsSpareShare, leaseShareMin } = quotaBounds;
    const { outstanding } = this;
    const endMs = this.#startMs + windowMs;
    // Requests come in bursts, and a lease takes its time: what the next ones need is there before they come.
    const spare = Math.ceil(Math.max(outstanding * slotsSpareShare, limit.amount * leaseShareMin));
    if (this.#needed > 0 && outstanding + 1 > this.#held && !this.isExhausted(1, nowMs)) {
      const unitsMin = outstanding + 1;
      return this.#ask(this.#startMs, outstanding + this.#needed + spare, unitsMin);
    }
    const isScarce = nowMs < this.#scarceUntilMs;
    const most = Math.max(outstanding, this.#peak);
    if (most > 0 && this.#nextStartMs !== endMs && endMs - nowMs < Math.max(slotsAheadMs, 2 * roundTripMs)) {
      return this.#ask(endMs, most + (isScarce ? 0 : spare), 0);
    }
    const isLow = outstanding > 0 && this.#held - outstanding < spare / 2 && this.#held < limit.amount;
    return isLow && !isScarce ? this.#ask(this.#startMs, outstanding + spare, 0) : undefined;
  }

  #ask(windowStartMs: number, slots: number, unitsMin: number): Wanted {
    const units = Math.max(Math.min(this.quota.limit.amount, slots), unitsMin);
    this.#askedAhead = units;
    return { windowStartMs, units, unitsMin };
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
