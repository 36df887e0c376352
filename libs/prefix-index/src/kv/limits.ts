/** Bounds of the index, in one place. */
export const kvLimits = {
  /** Distinct blocks over all replicas; 45 to 100 bytes each with what one replica holds. What comes on top is refused and counted. */
  blocksMax: 8_000_000,
  /** Blocks held, over all replicas, media and groups: 24 to 44 bytes each. */
  holdingsMax: 32_000_000,
  /** A bit of each block's row: one for each replica, data-parallel rank and KV group. */
  slotsMax: 4096,
  /** KV groups of one engine that can be told apart. */
  groupsMax: 64,
  /** Blocks of one prompt that are matched: a million tokens at 16. The rest is not looked at. */
  blocksPerPromptMax: 65_536,
  /** Of one event, looked for ahead of being changed: their places stay in the nearest cache meanwhile. */
  blocksAtOnce: 128,
  /** What was routed and not yet told by the engine, for each replica. */
  speculativeMax: 65_536,
  /** An engine tells within a second or two of the prefill; a queue may be in between. */
  speculativeMs: 30_000,
  /** Where nobody says how many blocks an engine has. */
  approximateBlocks: 16_384,
} as const;

export const media = { gpu: 0, cpu: 1, storage: 2 } as const;
export type Medium = (typeof media)[keyof typeof media];
export const mediaCount = 3;
