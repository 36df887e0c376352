/** How full a replica may be taken to be, by what is known of it. */
export interface RoomBounds {
  /** Older signals say nothing about now. */
  readonly signalAgeMsMax: number;
  /** Engine-side waiting that is no sign of saturation: a request waits there for the next step even where there is room. */
  readonly waitingMax: number;
  /** Requests beyond those seen running that a replica without a known bound may be sent while nothing waits there. */
  readonly probeMin: number;
  /** The same as a share of those seen running, where that is more. */
  readonly probeShare: number;
  /** In flight at a replica of which nothing fresh is known. */
  readonly blindMax: number;
  /** Share of the bound that a tenant beyond its share leaves free for the others. */
  readonly reserveShare: number;
  /**
   * Prompt tokens still to be computed there beside which a tenant beyond its share may put more: a prompt that shares its steps with
   * another's is late by as much.
   */
  readonly sharedPrefillTokensMax: number;
  /** KV use from which a replica is sent no more than it runs. */
  readonly kvUseMax: number;
}

export const roomBounds: RoomBounds = {
  signalAgeMsMax: 3_000,
  waitingMax: 2,
  probeMin: 32,
  probeShare: 0.5,
  blindMax: 256,
  reserveShare: 0.125,
  sharedPrefillTokensMax: 0,
  kvUseMax: 0.97,
};

/** Loads of candidates by column, one value for each; NaN is unknown. Ages in ms, NaN unknown. */
export interface LoadColumns {
  readonly count: number;
  /** Requests there now: own ones at this instant, others' as they last said. */
  readonly inflight: ArrayLike<number>;
  /** Most that it runs at once, as configured or told. */
  readonly slots: ArrayLike<number>;
  readonly waiting: ArrayLike<number>;
  readonly waitingAgeMs: ArrayLike<number>;
  readonly running: ArrayLike<number>;
  readonly runningAgeMs: ArrayLike<number>;
  readonly kvUse: ArrayLike<number>;
  readonly kvUseAgeMs: ArrayLike<number>;
  /** Prompt tokens of own requests there that have no first token yet. */
  readonly prefillTokens: ArrayLike<number>;
}

const fresh = (value: number, ageMs: number, ageMsMax: number): boolean => !Number.isNaN(value) && ageMs <= ageMsMax;

/**
 * Requests that candidate `i` may have in flight before more would queue inside it. Where a finer signal is unknown or stale the bound is
 * coarser, never open and never shut: slots, else what it was seen to run plus a probe, else a bound in the blind.
 */
export function capacityOf(columns: LoadColumns, i: number, bounds: RoomBounds): number {
  const { signalAgeMsMax } = bounds;
  const slots = columns.slots[i] as number;
  const running = columns.running[i] as number;
  const waiting = columns.waiting[i] as number;
  const known = slots > 0;
  const coarse = known ? slots : bounds.blindMax;
  if (!fresh(running, columns.runningAgeMs[i] as number, signalAgeMsMax)) return coarse;
  if (!fresh(waiting, columns.waitingAgeMs[i] as number, signalAgeMsMax)) return coarse;
  const kvUse = columns.kvUse[i] as number;
  const kvFull = kvUse >= bounds.kvUseMax && fresh(kvUse, columns.kvUseAgeMs[i] as number, signalAgeMsMax);
  // It runs as many as it can: one more gets a place when one of them ends, which the count in flight tells before the next poll.
  if (waiting > bounds.waitingMax || kvFull) return Math.max(1, Math.min(running, coarse));
  return known ? slots : running + Math.max(bounds.probeMin, Math.floor(running * bounds.probeShare));
}

/** More that candidate `i` may be sent now; 0 is saturated. For a tenant beyond its share without what is kept for the others. */
export function roomOf(columns: LoadColumns, i: number, bounds: RoomBounds, beyondShare = false): number {
  const inflight = columns.inflight[i] as number;
  // An own count cannot be unknown; if it is, one at a time is neither free nor full.
  if (Number.isNaN(inflight)) return 1;
  const capacity = capacityOf(columns, i, bounds);
  if (!beyondShare) return Math.max(0, capacity - inflight);
  if ((columns.prefillTokens[i] as number) > bounds.sharedPrefillTokensMax) return 0;
  // Of a bound of one nothing can be kept.
  const kept = Math.min(capacity - 1, Math.ceil(capacity * bounds.reserveShare));
  return Math.max(0, capacity - kept - inflight);
}

/** Writes the room of each into `out`; the number of candidates that have some. */
export function roomOfAll(columns: LoadColumns, bounds: RoomBounds, out: Float64Array): number {
  let free = 0;
  for (let i = 0; i < columns.count; i++) {
    const room = roomOf(columns, i, bounds);
    out[i] = room;
    if (room > 0) free++;
  }
  return free;
}
