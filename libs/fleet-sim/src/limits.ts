/** Bounds and fixed times of a run. Units stand last. The times are those of the gateway. */
export const fleetSimLimits = {
  /** Between two polls of one replica; longer where the fleet is large. */
  pollPeriodMs: 1_000,
  pollJitterShare: 0.2,
  pollsPerSecondMax: 200,
  /** From the question to its answer, whose values are of the question. */
  pollAnswerMs: 5,
  /** Between two words of a gateway about what it has in flight. */
  tellPeriodMs: 250,
  /** From an engine's KV event to a gateway's index. */
  kvEventDelayMs: 10,
  replicasMax: 1_024,
  gatewaysMax: 64,
  /** Past this a run is said to have no end. */
  eventsMax: 200_000_000,
  /** Picks between two looks at every block of every engine. */
  blockCheckPicks: 4_096,
  requestsMax: 1_000_000,
  tokensPerByteBlock: 32,
} as const;
