/** Bounds of the log, in one place. Units stand last. */
export const limits = {
  commitIdLengthMax: 128,
  /** Payload of one commit; NATS refuses messages over 1 MiB by default. */
  payloadBytesMax: 512 * 1024,
  eventsPerCommitMax: 256,
  /** Decide again after a conflict, at most this often in one call of `handle`. */
  decideAttemptsMax: 8,
  /** Publish again after a lost answer that left nothing in the log. */
  publishAttemptsMax: 5,
  retryDelayMsMin: 5,
  retryDelayMsMax: 500,
  /** Aggregates whose state the command handler keeps. */
  aggregatesCachedMax: 1024,
  /** An aggregate with more commits than this is read anew each time. */
  commitsCachedPerAggregateMax: 16_384,
  /** Commits of all aggregates that are kept, some hundred bytes each; beyond it those used longest ago are dropped. */
  commitsCachedMax: 32_768,
  /** A reader's announcement lives this long unless renewed. */
  announcementTtlMs: 30_000,
} as const;
