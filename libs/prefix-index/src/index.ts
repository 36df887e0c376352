export type { BlockHashes } from './hash-blocks.ts';
export { hashBlocks, prefixLimits } from './hash-blocks.ts';
export { PrefixIndex } from './prefix-index.ts';
