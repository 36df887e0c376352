export const workerLimits = {
  /** One that answers no later is left out of a scrape, and counted as down. */
  metricsMsMax: 1_000,
  scrapeMsMax: 2_000,
  /** A worker that died is started again after this long, twice as long each time within the window. */
  restartDelayMsMin: 100,
  restartDelayMsMax: 5_000,
  restartWindowMs: 60_000,
  /** For a successor to serve; then the old one stays. */
  replaceMsMax: 60_000,
  /** Processes of one place that live at once: one serves, the others are done with their requests soon. */
  generationsMax: 8,
  /** For a worker to end once it was told; then it is killed. More than a gateway takes to drain. */
  stopMsMax: 40_000,
} as const;
