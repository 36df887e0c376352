export { engineTokens } from './engine-tokens.ts';
export { ThreadEncoding } from './encoding.ts';
export type { TokenizerEntry } from './model-tokens.ts';
export { ModelTokens } from './model-tokens.ts';
export { exposeTokens } from './tokens-metrics.ts';
export { tokensLimits } from './limits.ts';
export type { NoTokens, TokensOf } from './tokens-of.ts';
export { noTokenizers } from './tokens-of.ts';
