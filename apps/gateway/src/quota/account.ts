import type { tenancy } from '#libs/contracts';

/** One count of one limit, as this gateway keeps it. */
export interface Quota {
  /** Hash that names it in the log. */
  readonly key: string;
  readonly tenantId: string;
  readonly limit: tenancy.Limit;
  readonly limitsSeq: number;
  readonly windowMs: number;
}

/** What a lease is asked for. `unitsMin` 0 is a renewal that takes what there is. */
export interface Wanted {
  readonly windowStartMs: number;
  readonly units: number;
  readonly unitsMin: number;
}

export interface UnderWay extends Wanted {
  readonly leaseId: string;
  /** When it was first sent, by the monotonic clock. */
  readonly sentMs: number;
  /** It only measures the broker's clock. */
  readonly probes: boolean;
}

/** What this gateway may spend of one limit, and what it asks of the log for it. Times are the broker's. */
export interface Account {
  readonly quota: Quota;
  /** It is looked at each tick: something of it is asked for, held or under way. */
  active: boolean;
  readonly kind: 'window' | 'slots';
  /** Reservations not settled yet. */
  outstanding: number;
  lastAskedMs: number;
  /** A lease under way, or one whose answer was lost: asked again under the same id. */
  underWay: UnderWay | undefined;
  /** That lease is being worked on now, or stands in the queue. */
  busy: boolean;
  retryAtMs: number;
  failures: number;
  readonly waiters: Set<() => void>;
  /** The limit was set anew. */
  adopt(quota: Quota): void;
  /** Whether so much can be spent now. */
  has(units: number, nowMs: number): boolean;
  /** Takes what `has` said is there; answers the window. */
  take(units: number, nowMs: number): number;
  settle(windowStartMs: number, reserved: number, used: number, nowMs: number): void;
  /** A lease was granted. */
  credit(windowStartMs: number, units: number, leased: number | undefined, nowMs: number): void;
  /** The log said that so much is not left of that window. */
  exhaust(windowStartMs: number, needed: number, remaining: number, nowMs: number): void;
  /** Known to be used up, for so much. */
  isExhausted(units: number, nowMs: number): boolean;
  /** A request asked for so much and did not get it at once. `waits`: a lease may bring it. */
  need(units: number, nowMs: number, waits: boolean): void;
  tick(nowMs: number): void;
  /** `roundTripMs`: what leases take of late. */
  wants(nowMs: number, roundTripMs: number): Wanted | undefined;
  /** What may go back; it is taken off at once, so that it is never spent whatever becomes of the commit. */
  takeIdle(nowMs: number, everything: boolean): { readonly windowStartMs: number; readonly units: number } | undefined;
  /** Nothing happens in it until it is asked again. */
  isQuiet(nowMs: number): boolean;
  /** Nothing is lost by forgetting it. */
  isForgettable(nowMs: number): boolean;
  /** Left of the limit in this window, as far as is known here. */
  remaining(nowMs: number): number;
  /** When it is whole again. */
  resetMs(nowMs: number): number;
}
