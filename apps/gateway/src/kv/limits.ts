export const kvLimits = {
  retryMs: 500,
  /** What was routed and never told is let go so often. */
  expireMs: 5_000,
} as const;
