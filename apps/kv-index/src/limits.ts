/** Bounds of this app, in one place. */
export const limits = {
  /** Bytes of an engine's batches that wait for the broker; beyond it the engine is let go, and taken up again where the stream ends. */
  outboxBytesMax: 32 * 1024 * 1024,
  publishTriesMax: 20,
  publishRetryMs: 100,
  /** For the own frames to come back, before a snapshot is made. */
  echoMsMax: 5_000,
  /** A snapshot of each cache at least so often: the stream keeps ten minutes. */
  snapshotMsMax: 180_000,
  /** And after so many bytes of batches, or as many as the last one had. */
  snapshotBytesMin: 4 * 1024 * 1024,
  /** Between two snapshots of one cache. */
  snapshotMsMin: 400,
  retryMs: 500,
  startMsMax: 10_000,
  /** A prompt's tokens in a question are the most that anybody sends. */
  bodyBytesMax: 8 * 1024 * 1024,
  queryTokensMax: 1_048_576,
  textMax: 512,
  /** Blocks told of one prompt, and in one list. */
  listMax: 1_000,
  replicasMax: 4_096,
} as const;
