/** Bounds of what is learnt, and the rates at which it is. Units stand last. */
export const latencyModelLimits = {
  /** Latency models, by model and kind of engine; past it the one used longest ago is forgotten. */
  modelsMax: 256,
  /** Histograms of output lengths, by tenant, model and length of the prompt; likewise. */
  lengthHistogramsMax: 4_096,
  /** The same over all tenants, and over all prompts. */
  lengthSharedMax: 1_024,
  tenantsMax: 4_096,
  /** A prediction is made from here on; before it the coefficients are unknown. */
  samplesMin: 16,
  /** Remembers about the last 1,000 observations. */
  forgetting: 0.999,
  /** Rates and work sent count over this. */
  windowMs: 30_000,
  /** The share of time that a replica was busy: short, or an idle one would be sent everything until it shows. */
  busyWindowMs: 4_000,
  /** Tokens of tenants count over this. */
  tenantWindowMs: 300_000,
  /** Weight of one observation in a replica's own mean of TTFT and TPOT. */
  meanShare: 0.2,
  /** An observation of a correction counts by this less with each that comes after it. */
  correctionShare: 0.04,
  /** Observations that 1 stands for in it, and the age at which its own count half. */
  correctionPrior: 4,
  correctionFadeMs: 30_000,
  correctionMin: 0.125,
  correctionMax: 8,
  /** Weight of one observation in how much prompts slow tokens. */
  slowingShare: 0.02,
  latencyMsMax: 600_000,
  /** A quantile is known from here on. */
  lengthSamplesMin: 8,
  /** Counts of a histogram are halved here, so that old lengths fade. */
  lengthSamplesMax: 512,
  /** How far times lie from predictions is said from here on. */
  ratiosMin: 64,
  /** Counts of them are halved here. */
  ratiosMax: 2_048,
} as const;
