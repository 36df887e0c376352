/** What is kept of a stream so that another replica can go on with it. Past either bound it is passed as it comes, and ends as any other. */
export const continuationLimits = {
  /** One event that is not yet whole. */
  eventBytesMax: 256 * 1024,
  /** Characters of the answer. */
  textLengthMax: 1024 * 1024,
} as const;
