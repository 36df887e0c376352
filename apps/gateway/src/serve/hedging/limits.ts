export const hedgingLimits = {
  /** How often those that wait are looked at: a hedge is late by at most this. */
  tickMs: 5,
  /** Streams that are watched at once; more are not hedged. */
  watchedMax: 8_192,
  /** What a budget saves up, in hedges. */
  burstMax: 10,
  /** Models whose quantiles are learnt; the oldest goes. */
  modelsMax: 256,
  /** Fewer observations than this say nothing. */
  observationsMin: 50,
  /** At so many all count half: the mix changes. */
  observationsMax: 4_000,
} as const;
