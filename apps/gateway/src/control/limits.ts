import { limits } from '#libs/event-log';

/** Bounds of the gateway's control side, in one place. Units stand last. */
export const controlLimits = {
  /** Start-up waits this long for the log, then goes on in the background and says what is missing. */
  bringUpMsMax: 20_000,
  /** A gateway that listens when it is ready listens after this long all the same: somebody has to say what is missing. */
  listenReadyMsMax: 10_000,
  listenLookMs: 20,
  /** A gateway whose port others serve waits so long for clients to use the connections that they keep, and for requests under way. */
  leave: { idleMsMax: 5_000, requestsMsMax: 600_000 },
  retryMsMin: 100,
  retryMsMax: 2_000,
  /** A snapshot of each fold after this many commits. */
  snapshotEveryCommits: 1_000,
  announcePeriodMs: Math.floor(limits.announcementTtlMs / 3),
  /** Each step of stopping. */
  stopStepMsMax: 3_000,
  /** Requests in flight get this long when the gateway stops. */
  drainMsMax: 15_000,
  /** A query with minSeq waits at most this long, or as long as its caller. */
  minSeqWaitMsMax: 5_000,
  /** apply(): for the folds to reach the end of the log before the plan, and the plan's own commits after it. */
  applyFoldWaitMsMax: 10_000,
  /** apply(): tries of one command while the log is away, with growing waits. */
  applyTriesMax: 12,
} as const;
