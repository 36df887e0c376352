/** Bounds of warming, in one place. */
export const warmingLimits = {
  /** A prefix is counted at each multiple of so many tokens. */
  stepTokens: 128,
  /** Beyond so many tokens nothing is counted, kept or computed ahead. */
  prefixTokensMax: 16_384,
  /** Places in the count of prefixes; the least asked one gives way. */
  countedMax: 8_192,
  /** Of one request, steps that nobody asked for before: long tails that never come again stay out. */
  newStepsMax: 8,
  /** Asked so often is hot; each ask counts half after `halfLifeMs`. */
  asksMin: 8,
  halfLifeMs: 600_000,
  /** Hot prefixes whose tokens are kept, and the tokens of all of them: four bytes each. */
  prefixesMax: 64,
  keptTokensMax: 1_048_576,
  /** Between two looks at the replicas. */
  lookMs: 500,
  /** For the index to know what a replica that is to be warmed holds. */
  indexWaitMsMax: 15_000,
  /** Prompt tokens sent to one replica, in all. */
  tokensPerReplicaMax: 262_144,
  /** Replicas that one gateway warms at once; on each one prompt after the other. */
  replicasAtOnceMax: 4,
  /** The whole of one replica, and one prompt of it. */
  replicaMsMax: 120_000,
  promptMsMax: 30_000,
  /** Between two looks at whether it is busy meanwhile. */
  busyLookMs: 100,
  /** More requests of clients there than this: it is busy, and warms by itself. */
  clientRequestsMax: 4,
  kvUseMax: 0.5,
  /** Less than this share of what it held one look ago: its cache was cleared, or it started anew. */
  clearedShare: 0.25,
  /** A replica is not warmed again sooner. */
  againMs: 60_000,
  /** Hot prefixes are told to other gateways so often, and believed for so long. */
  tellMs: 1_000,
  heardMs: 5_000,
  gatewaysMax: 1_024,
  modelsPerMessageMax: 1_024,
  messageBytesMax: 64 * 1024,
  answerBytesMax: 1024 * 1024,
} as const;

export type WarmingLimits = { readonly [name in keyof typeof warmingLimits]: number };
