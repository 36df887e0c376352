import { windowEnd, windowStart } from '#libs/domain/tenancy';
import type { Account, Quota, UnderWay, Wanted } from './account.ts';
import { quotaBounds } from './limits.ts';

const {
  leaseAheadMsMin,
  leaseAheadMsMax,
  refillMs,
  leaseShareMin,
  nextWindowAheadMs,
  returnAfterMs,
  keepMs,
  returnWindowMsMin,
} = quotaBounds;

/** How much a new rate weighs against the old one, for each tick. */
const rateWeight = 0.2;

/** Units of a window of time: what is held of a window ends with it. */
export class WindowAccount implements Account {
  readonly kind = 'window';
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
  #endsMs = Number.NaN;
  #available = 0;
  #nextStartMs = Number.NaN;
  #next = 0;
  /** Used beyond what was reserved and held: paid out of what is leased next. */
  #debt = 0;
  #leased = 0;
  #nextLeased = 0;
  #exhaustedNeed = Number.POSITIVE_INFINITY;
  #exhaustedUntilMs = 0;
  #needed = 0;
  #askedSinceTick = 0;
  #lastTickMs = Number.NaN;
  #ratePerMs = 0;
  #lastTakenMs = 0;
  #idleSinceMs = 0;

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
    return this.#available >= units;
  }

  take(units: number, nowMs: number): number {
    this.#available -= units;
    this.#askedSinceTick += units;
    this.#lastTakenMs = nowMs;
    this.outstanding++;
    return this.#startMs;
  }

  settle(windowStartMs: number, reserved: number, used: number, nowMs: number): void {
    this.#roll(nowMs);
    this.outstanding--;
    const rest = reserved - used;
    // The rest of a window that is over is over with it.
    if (rest >= 0) {
      if (windowStartMs === this.#startMs) this.#available += rest;
    } else this.#charge(-rest);
  }

  credit(windowStartMs: number, units: number, leased: number | undefined, nowMs: number): void {
    this.#roll(nowMs);
    if (windowStartMs === this.#startMs) {
      this.#available += units;
      this.#leased = leased ?? this.#leased;
      this.#idleSinceMs = nowMs;
      this.#needed = 0;
      this.#payDebt();
    } else if (windowStartMs === this.#endMs()) {
      this.#next = windowStartMs === this.#nextStartMs ? this.#next + units : units;
      this.#nextStartMs = windowStartMs;
      this.#nextLeased = leased ?? 0;
    }
  }

  exhaust(windowStartMs: number, needed: number, remaining: number, nowMs: number): void {
    this.#roll(nowMs);
    if (windowStartMs !== this.#startMs) return;
    const { exhaustedRetryMsMin, exhaustedRetryMsMax } = quotaBounds;
    const retryMs = Math.min(exhaustedRetryMsMax, Math.max(exhaustedRetryMsMin, this.quota.windowMs / 50));
    this.#exhaustedNeed = needed;
    this.#exhaustedUntilMs = nowMs + retryMs;
    this.#leased = this.quota.limit.amount - remaining;
    this.#needed = 0;
  }

  isExhausted(units: number, nowMs: number): boolean {
    return !this.#isLeft(this.#shortOf(units), nowMs);
  }

  need(units: number, nowMs: number, waits: boolean): void {
    this.lastAskedMs = nowMs;
    if (waits) this.#needed = Math.max(this.#needed, units);
    this.#askedSinceTick += units;
  }

  tick(nowMs: number): void {
    this.#roll(nowMs);
    const elapsedMs = nowMs - this.#lastTickMs;
    this.#lastTickMs = nowMs;
    if (!(elapsedMs > 0)) return;
    this.#ratePerMs += rateWeight * (this.#askedSinceTick / elapsedMs - this.#ratePerMs);
    this.#askedSinceTick = 0;
    if (this.#ratePerMs * leaseAheadMsMin < 0.001) this.#ratePerMs = 0;
  }

  wants(nowMs: number, roundTripMs: number): Wanted | undefined {
    this.#roll(nowMs);
    const { windowMs, limit } = this.quota;
    const endMs = this.#endMs();
    // Twice: the need may grow while it is under way.
    const leadMs = 2 * roundTripMs;
    const aheadMs = Math.min(windowMs, leaseAheadMsMax, Math.max(leaseAheadMsMin, windowMs / 6, 2 * leadMs));
    const usual = Math.ceil(Math.max(this.#ratePerMs * aheadMs, limit.amount * leaseShareMin));
    const unitsMin = Math.max(1, this.#shortOf(this.#needed));
    const lowMs = Math.min(Math.max(refillMs, leadMs), endMs - nowMs);
    const low = this.#needed > this.#available || this.#available < this.#ratePerMs * lowMs;
    if (low && this.#isLeft(unitsMin, nowMs)) {
      return { windowStartMs: this.#startMs, units: Math.max(unitsMin, usual + this.#debt), unitsMin };
    }
    const isNear = endMs - nowMs < Math.min(Math.max(nextWindowAheadMs, leadMs), windowMs / 5);
    if (isNear && this.#ratePerMs > 0 && this.#nextStartMs !== endMs) {
      return { windowStartMs: endMs, units: Math.max(1, usual), unitsMin: 1 };
    }
    return undefined;
  }

  takeIdle(nowMs: number, everything: boolean): { windowStartMs: number; units: number } | undefined {
    this.#roll(nowMs);
    const { windowMs } = this.quota;
    if (!everything) {
      if (windowMs < returnWindowMsMin) return undefined;
      if (nowMs - this.#idleSinceMs < Math.min(returnAfterMs, windowMs / 10)) return undefined;
    }
    const keep = everything ? 0 : Math.ceil(this.#ratePerMs * keepMs);
    const units = this.#available - keep;
    // A little too much is not worth a commit.
    if (units <= 0 || units < keep) return undefined;
    this.#available -= units;
    this.#idleSinceMs = nowMs;
    return { windowStartMs: this.#startMs, units };
  }

  isQuiet(nowMs: number): boolean {
    this.#roll(nowMs);
    const holds = this.#available > 0 || this.#next > 0 || this.#debt > 0;
    return !holds && this.#ratePerMs === 0 && this.#askedSinceTick === 0 && this.underWay === undefined;
  }

  isForgettable(nowMs: number): boolean {
    this.#roll(nowMs);
    const isIdle = nowMs - Math.max(this.lastAskedMs, this.#lastTakenMs) > quotaBounds.forgetAfterMs;
    return isIdle && this.outstanding === 0 && this.#available === 0 && this.#debt === 0 && this.underWay === undefined;
  }

  remaining(nowMs: number): number {
    this.#roll(nowMs);
    return Math.max(0, this.quota.limit.amount - this.#leased) + this.#available;
  }

  resetMs(nowMs: number): number {
    this.#roll(nowMs);
    return this.#endMs() - nowMs;
  }

  #endMs(): number {
    return this.#endsMs;
  }

  #roll(nowMs: number): void {
    if (nowMs >= this.#startMs && nowMs < this.#endsMs) return;
    const { windowMs } = this.#quota;
    const startMs = windowStart(windowMs, nowMs);
    const isNext = startMs === this.#nextStartMs;
    this.#available = isNext ? this.#next : 0;
    this.#leased = isNext ? this.#nextLeased : 0;
    this.#startMs = startMs;
    this.#endsMs = windowEnd(windowMs, startMs);
    this.#next = 0;
    this.#nextStartMs = Number.NaN;
    this.#exhaustedUntilMs = 0;
    this.#exhaustedNeed = Number.POSITIVE_INFINITY;
    this.#idleSinceMs = nowMs;
    this.#payDebt();
  }

  /** What has to be leased before so much can be spent. */
  #shortOf(units: number): number {
    return units - this.#available + this.#debt;
  }

  /** False while the log is known to have no such lease left. */
  #isLeft(units: number, nowMs: number): boolean {
    return nowMs >= this.#exhaustedUntilMs || units < this.#exhaustedNeed;
  }

  #charge(units: number): void {
    const paid = Math.min(units, this.#available);
    this.#available -= paid;
    this.#debt += units - paid;
  }

  #payDebt(): void {
    const debt = this.#debt;
    if (debt === 0) return;
    this.#debt = 0;
    this.#charge(debt);
  }
}
