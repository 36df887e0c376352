/** Bounds of the fleet view, in one place. Units stand last. */
export const fleetLimits = {
  /** Between two polls of one replica; longer where the fleet is large, see `pollsPerSecondMax`. */
  pollPeriodMs: 1_000,
  /** Each wait is drawn from ± this share, so that pollers drift apart. */
  pollJitterShare: 0.2,
  /** All pollers of one gateway together. */
  pollsPerSecondMax: 200,
  /** A poll out of turn, after an attempt that could not connect, comes at most this often. */
  hurryGapMs: 200,
  /** From connect to the last byte of one answer. */
  pollTimeoutMs: 2_000,
  pollHeaderBytesMax: 16 * 1024,
  pollHeadersMax: 256,
  /** A connection that is not used between two looks at them this far apart is closed. */
  pollIdleMsMax: 10_000,
  /** Models and whether sleeping is offered are asked this often; at once when the adapters in use change. */
  modelsPeriodMs: 5_000,
  /** Failed polls in a row before a replica counts as unhealthy; a refused connection counts at once. */
  unhealthyAfterPolls: 2,
  /** An answer older than this says nothing about now. */
  healthStaleMs: 10_000,
  /** "Unknown model" waits this long for a replica that has not said its models. */
  settlingMsMax: 20_000,
  /** From coming into routing to full warmth. */
  slowStartMs: 10_000,
  errorLengthMax: 300,
  credentialBytesMax: 16 * 1024,
  /** Replicas with metrics of their own; the rest are summed as "other". */
  replicaLabelsMax: 512,
} as const;

export const circuitLimits = {
  /** Failures in a row that open it. */
  failuresMax: 5,
  openMsMin: 1_000,
  openMsMax: 30_000,
  /** Requests let through in each period of a half-open circuit. */
  probesPerPeriodMax: 1,
} as const;

export const outlierLimits = {
  evaluatePeriodMs: 1_000,
  windowMs: 30_000,
  buckets: 10,
  /** Fewer say nothing. */
  requestsMin: 20,
  failureShareMin: 0.3,
  /** A replica stands out when its share of failures is this many times that of the others. */
  timesOfOthers: 3,
  /** Of the replicas of each model; the rest stay whatever they do. */
  ejectedShareMax: 0.5,
  ejectMsMin: 30_000,
  ejectMsMax: 300_000,
  /** A command that found no log is given again after this. */
  commandRetryMs: 2_000,
} as const;

export const inflightLimits = {
  /** Counts are told at most this often, while they change. */
  publishPeriodMs: 250,
  /** Unchanged counts above zero are told again after this, so that others go on believing them. */
  repeatMs: 1_000,
  /** A gateway that is silent for this long has nothing in flight any more. */
  forgetMs: 5_000,
  gatewaysMax: 256,
  replicasPerMessageMax: 4_096,
  messageBytesMax: 512 * 1024,
} as const;

export const wakeLimits = {
  /** A model that is wanted is named at most once in this time, over all gateways. */
  holdMs: 10_000,
  /** Where the log did not take it. */
  retryMs: 1_000,
  /** Models remembered. */
  modelsMax: 1_024,
  /** Sleeping replicas that one event names. */
  asleepNamedMax: 64,
} as const;
