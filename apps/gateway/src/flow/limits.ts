/** Bounds of waiting in the gateway; those of the queue itself are `flowLimits`. */
export const gateLimits = {
  /** While somebody waits, how often bounds, telemetry and replicas that became ready are looked at. */
  tickMs: 25,
} as const;
