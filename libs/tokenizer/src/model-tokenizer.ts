import type { TokensUnknown, Unknown } from './conversation.ts';
import { Cuts } from './cuts.ts';
import type { ModelFiles } from './model-files.ts';
import type { KnownPrefix } from './prefix-cache.ts';
import { PrefixCache } from './prefix-cache.ts';
import type { PromptOf } from './request-text.ts';
import { promptOf } from './request-text.ts';
import { TextEncoder } from './text-encoder.ts';

/** A prompt whose text is known and looked up, and not yet encoded. */
export interface OpenPrompt {
  readonly found: KnownPrefix;
  readonly addSpecialTokens: boolean;
}

export type Prompt = Int32Array | OpenPrompt | Unknown;

export const isOpen = (prompt: Prompt): prompt is OpenPrompt => 'found' in prompt;

/** Tokens of one model's requests. */
export class ModelTokenizer {
  readonly encoder: TextEncoder;
  readonly cache: PrefixCache;

  /** @throws TOKENIZER_UNSUPPORTED */
  constructor(
    readonly files: ModelFiles,
    cachedCharsMax?: number,
  ) {
    this.encoder = new TextEncoder(files.tokenizer, files.config);
    this.cache = new PrefixCache(new Cuts(files.tokenizer), cachedCharsMax);
  }

  prompt(path: string, body: string): PromptOf {
    return promptOf(path, body, this.files);
  }

  /** The client gives the ids itself. */
  isGiven(path: string, body: string): boolean {
    return 'tokens' in this.prompt(path, body);
  }

  /** As far as it goes without encoding. */
  open(path: string, body: string): Prompt {
    const prompt = this.prompt(path, body);
    if ('unknown' in prompt) return prompt;
    if ('tokens' in prompt) return Int32Array.from(prompt.tokens);
    return { found: this.cache.find(prompt.text), addSpecialTokens: prompt.addSpecialTokens };
  }

  /** Encodes what is missing, here and now. */
  encode({ found, addSpecialTokens }: OpenPrompt): Int32Array {
    return this.close(
      found,
      addSpecialTokens,
      found.missing.map((piece) => this.encoder.encode(piece)),
    );
  }

  /** With what was missing encoded elsewhere. */
  close(found: KnownPrefix, addSpecialTokens: boolean, encoded: readonly Int32Array[]): Int32Array {
    this.cache.keep(found, encoded);
    const { before, behind } = addSpecialTokens ? this.encoder : { before: [], behind: [] };
    const missing = encoded.reduce((sum, piece) => sum + piece.length, 0);
    const out = new Int32Array(before.length + found.tokens + missing + behind.length);
    out.set(before);
    let at = before.length;
    for (const piece of found.pieces) {
      out.set(piece, at);
      at += piece.length;
    }
    for (const piece of encoded) {
      out.set(piece, at);
      at += piece.length;
    }
    out.set(behind, at);
    return out;
  }

  /** All of it at once. */
  tokens(path: string, body: string): Int32Array | TokensUnknown {
    const prompt = this.open(path, body);
    if ('unknown' in prompt) return prompt.unknown;
    return isOpen(prompt) ? this.encode(prompt) : prompt;
  }
}
