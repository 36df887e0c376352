/** Bounds of the quota part, in one place. Units stand last. */
export const quotaBounds = {
  /** A gateway whose clock is further than this from the broker's spends nothing. */
  clockOffMsMax: 1_000,
  /** How fast two sound clocks part: a measurement loses its worth by so much for each millisecond of its age. */
  clockDriftRatio: 1e-4,
  /** While a clock is off it is measured again so often, where someone asks. */
  clockProbeMs: 2_000,
  /** A request waits at most this long for a lease that is under way: a broker that is slow, but answers, refuses nobody. */
  leaseWaitMsMax: 2_000,
  /** Requests that wait for one lease. */
  waitersMax: 1_024,
  /** How often accounts are looked at. */
  tickMs: 50,
  /**
   * A lease is to last a sixth of its window at the rate of now, within these: long enough that leases are few, short enough that little
   * lies with one gateway while another is short. Another is asked for when less than `refillMs` of it is left.
   */
  leaseAheadMsMin: 1_000,
  leaseAheadMsMax: 10_000,
  refillMs: 400,
  /** Where leases take longer, all that is asked for ahead of need is asked for so much earlier; no longer than this is believed. */
  roundTripMsMax: 5_000,
  /** How fast a slow one is forgotten, for each lease after it. */
  roundTripFade: 0.8,
  /** The least that is asked for, as a part of the limit. */
  leaseShareMin: 1 / 128,
  /** The next window is leased this long before it begins, or a fifth of the window if that is less. */
  nextWindowAheadMs: 1_000,
  /** Slots are renewed this long before their window ends, or as much earlier as leases take. */
  slotsAheadMs: 6_000,
  /** Slots are leased with this part of those in use to spare, and more are asked for where half of that is left. */
  slotsSpareShare: 1 / 2,
  /** What lay unused so long, or a tenth of the window if that is less, goes back, but for what `keepMs` need. */
  returnAfterMs: 10_000,
  keepMs: 3_000,
  /** Windows no longer than this end before it would be worth giving anything back. */
  returnWindowMsMin: 2_000,
  /** An exhausted window is asked again after a fiftieth of it, within these: something may have come back. */
  exhaustedRetryMsMin: 50,
  exhaustedRetryMsMax: 5_000,
  /** The same for slots, which come back as requests end elsewhere. */
  slotsRetryMs: 1_000,
  /** After a failed lease. */
  retryMsMin: 100,
  retryMsMax: 5_000,
  /** Commits under way at once. */
  commitsInFlightMax: 256,
  /** Counts held in memory; beyond it a request of a new one is refused. */
  accountsMax: 50_000,
  /** What limits make of a caller, about 1 KiB each; looked up anew beyond it. */
  scopesMax: 32_768,
  /** A count that holds nothing is forgotten when nobody asked for so long. */
  forgetAfterMs: 30_000,
  /** Counts of budgets; what costs beyond them is counted in no budget, and counted as that. */
  budgetsMax: 50_000,
  /** What was spent is reported this long after the last report, where it is this part of the budget or may reach an alert; else later. */
  budgetReportMsMin: 1_000,
  budgetReportShare: 1 / 200,
  budgetReportMsMax: 30_000,
  /** Stopping gives back what is held, for at most this long. */
  stopMsMax: 1_000,
  /** Output that is reserved for a request that names no maximum, before any was seen. */
  outputTokensGuess: 256,
} as const;
