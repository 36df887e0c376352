/** Bounds of recording, in one place. */
export const recordingLimits = {
  /** A record waits at most this long for its frame: what a kill -9 can lose while the bus is well. */
  framePeriodMs: 50,
  /** A frame is closed early at this many records. Few and large frames: each costs the bus a write to disk and its gateway an answer. */
  recordsPerFrameMax: 1024,
  /** A frame is closed early at this size; NATS refuses messages over 1 MiB by default. */
  frameBytesMax: 384 * 1024,
  /** A larger record is dropped and counted; one with 1000 candidates and all columns fits. */
  recordBytesMax: 384 * 1024,
  /** Longer texts are cut: they come from clients and engines. */
  textLengthMax: 2048,
  /** Frames in memory while the bus answers or the disk refuses. */
  framesQueuedMax: 64,
  /** A frame that the bus has not confirmed for this long goes to disk, with all behind it. A busy broker takes tens of milliseconds. */
  spillAfterMs: 250,
  publishTimeoutMs: 5000,
  retryDelayMsMin: 50,
  retryDelayMsMax: 2000,
  /** `stop` tries to send what is left for this long, then leaves it on disk. */
  drainMsMax: 3000,
  spoolBytesMax: 256 * 1024 * 1024,
  segmentBytesMax: 4 * 1024 * 1024,
  /** The owner of a spool gives a sign of life so often; one elsewhere that gave none for `spoolSilentMsMax` is gone. */
  spoolSignMs: 30_000,
  spoolSilentMsMax: 600_000,
  /** Spools of gateways that are gone: how often they are looked for, looked after, and how many are followed at once. */
  leftSpoolsLookMs: 60_000,
  leftSpoolsFollowMs: 1_000,
  leftSpoolsAtOnceMax: 4,
} as const;
