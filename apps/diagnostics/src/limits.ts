/** Bounds of diagnostics, in one place. Units stand last. */
export const limits = {
  bodyBytesMax: 4 * 1024 * 1024,
  idLengthMax: 256,
  listRowsMax: 1_000,
  logCommitsMax: 1_000,
  logCommitsDefault: 100,
  /** A request id that Postgres does not hold is looked for in so many of the newest frames, for so long. */
  framesScannedMax: 20_000,
  framesWindow: 64,
  /** A commit id that Postgres does not hold is looked for in so many of the newest commits. */
  commitsScannedMax: 500_000,
  commitsWindow: 5_000,
  scanMsMax: 10_000,
  /** Long answers (replay, verify, archive, state of the past) at once; further ones are refused. */
  /** Wrong admin keys of one address in a window, and addresses that are counted. */
  guessesMax: 20,
  guessWindowMs: 60_000,
  guessersMax: 4_096,
  longAnswersMax: 4,
  /** Records that one answer about predictions reads: as asked, and at most; and of how long ago, where nothing is said. */
  calibrationRecordsDefault: 100_000,
  calibrationRecordsMax: 1_000_000,
  calibrationMsDefault: 3_600_000,
  followersMax: 32,
  /** Items between two pauses of a long computation, so that the API answers meanwhile. */
  itemsPerSlice: 500,
  progressMs: 1_000,
  /** Read your writes: how long an answer waits for a sequence, and how much of that for Postgres. */
  minSeqWaitMsMax: 5_000,
  rowsWaitMsMax: 500,
  commandDeadlineMs: 15_000,
  /** How long a list waits for the gateway's view of health and load. */
  liveViewMsMax: 750,
  databaseRetryMsMin: 200,
  databaseRetryMsMax: 5_000,
  databasePingMs: 1_000,
  maintenanceMs: 3_600_000,
  foldRetryMs: 1_000,
  /** The start waits so long for the first fold; the API is served all the same. */
  foldStartMsMax: 5_000,
  snapshotEveryCommits: 2_000,
  notaryPollMs: 500,
  notaryCommitsMax: 1_000,
  notaryAgeMsMax: 10_000,
  differencesShownMax: 20,
  unreadableShownMax: 20,
} as const;
