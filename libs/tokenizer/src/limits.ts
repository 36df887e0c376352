export const tokenizerLimits = {
  /** Characters of a piece of text that the cache keeps; it ends at the first safe place behind these. */
  chunkCharsMin: 384,
  /** No safe place that near: the text from there on is encoded anew for each request. */
  chunkCharsMax: 16_384,
  /** Characters kept of all prompts of one model, least recently used forgotten first. */
  cachedCharsMax: 64 * 1024 * 1024,
  /** Words whose tokens are kept. */
  wordsCachedMax: 65_536,
  wordCharsCachedMax: 64,
  /** Bytes of each file of a model's folder. */
  fileBytesMax: 128 * 1024 * 1024,
} as const;
