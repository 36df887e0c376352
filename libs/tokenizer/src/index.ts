export type { ContentFormat, TokensUnknown } from './conversation.ts';
export { tokenizerLimits } from './limits.ts';
export type { ModelFiles } from './model-files.ts';
export { filesSignature, readModelFiles } from './model-files.ts';
export type { OpenPrompt, Prompt } from './model-tokenizer.ts';
export { isOpen, ModelTokenizer } from './model-tokenizer.ts';
export type { KnownPrefix } from './prefix-cache.ts';
export { TextEncoder } from './text-encoder.ts';
