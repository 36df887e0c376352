/** Bounds of hand-overs. */
export const pdLimits = {
  /** What a prefill side may answer: the names of the blocks of a long prompt. */
  prefillAnswerBytesMax: 8 * 1024 * 1024,
} as const;
