/** Bounds of the stream of KV events, in one place. */
export const kvStreamLimits = {
  /** Without a word from who follows an engine for so long, what is known of that engine is not believed to be exact. */
  staleMs: 5_000,
  /** So long nobody speaks of a replica that was removed, until nothing of it is kept. */
  goneMs: 10_000,
  /** So often the one who follows an engine says that it still does. */
  beatMs: 1_000,
  /** Silence after which another one takes an engine over. */
  takeoverMs: 3_000,
  /** Bytes of engine batches in one frame; a batch that is larger goes alone. */
  frameBytesMax: 512 * 1024,
  /** Work of a fold before it lets others run. */
  sliceMs: 2,
  /** A snapshot is asked for at most so often. */
  wantedMs: 500,
  /** Replicas named in one question for snapshots. */
  wantedReplicasMax: 512,
} as const;
