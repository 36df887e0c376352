import type { TokensUnknown } from '#libs/tokenizer';

/** Why a request's tokens are not known. */
export type NoTokens = TokensUnknown | 'no-tokenizer' | 'loading' | 'computing' | 'overloaded' | 'too-long' | 'differs';

/** Token ids of prompts, as the engine makes them. */
export interface TokensOf {
  /** Some model has a tokenizer: without one nothing needs to be asked. */
  readonly any: boolean;
  /**
   * The prompt's token ids, or why they are not known; never waits. Long new text is encoded on a thread meanwhile ('computing'), so
   * that the conversation's next turn is known. `model` is the base model of an adapter; `path` without a query.
   */
  of(model: string, path: string, body: Buffer): Int32Array | NoTokens;
}

export const noTokenizers: TokensOf = { any: false, of: () => 'no-tokenizer' };
