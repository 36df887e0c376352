/** Bounds of the adapter, in one place. Units stand last. */
export const natsLimits = {
  connectTimeoutMs: 3_000,
  reconnectWaitMs: 100,
  reconnectJitterMs: 100,
  pingIntervalMs: 10_000,
  /** Waiting for the acknowledgement of a publish. */
  ackTimeoutMs: 2_000,
  /** Waiting for an answer of the JetStream API. */
  apiTimeoutMs: 5_000,
  /** Publishes of one connection that are not yet acknowledged; further ones wait. */
  inFlightMax: 256,
  /** Publishes that wait for a place; more are refused. */
  waitingMax: 8_192,
  /** Messages asked for ahead of the handler, and the bytes they may take. */
  pullMessagesMax: 4_096,
  pullBytesMax: 16 * 1024 * 1024,
  pullExpiresMs: 30_000,
  /** Two of these without a sign of life and the consumer is made anew. */
  heartbeatMs: 2_000,
  consumerInactiveMs: 60_000,
  recreateWaitMsMin: 20,
  recreateWaitMsMax: 1_000,
  /** Commits of one subject that are read one by one; a longer history comes by a consumer. */
  singleReadsMax: 8,
  snapshotChunkBytes: 256 * 1024,
  snapshotBytesMax: 512 * 1024 * 1024,
  /** A delivery that was begun this often without an end takes its process with it, and is parked. */
  crashedDeliveriesMax: 50,
  reactorAckWaitMs: 30_000,
  reactorAckPendingMax: 64,
  reactorBatchMax: 16,
} as const;
