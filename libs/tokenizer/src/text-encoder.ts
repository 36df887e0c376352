import { Tokenizer } from '@huggingface/tokenizers';
import { CodedError, errorText } from '#libs/kernel';
import { tokenizerLimits } from './limits.ts';

/** What tokenizer.json says, as far as it is read here. */
export interface TokenizerJson {
  readonly added_tokens?: readonly AddedTokenJson[];
  readonly normalizer?: { readonly type?: string } | null;
  readonly pre_tokenizer?: PreTokenizerJson | null;
  readonly model?: Readonly<Record<string, unknown>>;
}

interface AddedTokenJson {
  readonly content: string;
  readonly lstrip?: boolean;
  readonly rstrip?: boolean;
  readonly single_word?: boolean;
  readonly normalized?: boolean;
}

export interface PreTokenizerJson {
  readonly type?: string;
  readonly add_prefix_space?: boolean;
  readonly use_regex?: boolean;
  readonly behavior?: string;
  readonly pattern?: { readonly Regex?: string; readonly String?: string };
  readonly pretokenizers?: readonly PreTokenizerJson[];
}

type Words = (text: string) => string[];
interface Internals {
  readonly pre_tokenizer: (Words & { readonly pattern?: RegExp; readonly tokenizers?: readonly Words[] }) | null;
  readonly model: ((words: string[]) => string[]) & {
    readonly tokens_to_ids: Map<string, number>;
    readonly unk_token_id?: number;
  };
}

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);

/** Steps of the pre-tokenizer in order. */
export const stepsOf = (step: PreTokenizerJson | null | undefined): readonly PreTokenizerJson[] =>
  step === null || step === undefined
    ? []
    : step.type === 'Sequence'
      ? (step.pretokenizers ?? []).flatMap(stepsOf)
      : [step];

/**
 * Text to token ids by the files of a model, as Hugging Face's tokenizers do it. Where the pre-tokenizer makes words that the model
 * sees one by one, the tokens of words are kept.
 */
export class TextEncoder {
  /** What `add_special_tokens` puts before and behind a text. */
  readonly before: readonly number[];
  readonly behind: readonly number[];
  readonly #tokenizer: Tokenizer;
  readonly #inside: Internals;
  readonly #words: Words | undefined;
  readonly #bytes: Words | undefined;
  readonly #added: RegExp | undefined;
  readonly #addedIds = new Map<string, number>();
  #known = new Map<string, readonly number[]>();

  /** @throws TOKENIZER_UNSUPPORTED */
  constructor(json: TokenizerJson, config: object) {
    refuseWhatDiffers(json);
    try {
      this.#tokenizer = new Tokenizer(json, config);
    } catch (cause) {
      throw unsupported(errorText(cause), cause);
    }
    this.#inside = this.#tokenizer as unknown as Internals;
    const added = json.added_tokens ?? [];
    const plain = added.every(
      ({ lstrip, rstrip, normalized }) => !lstrip && !rstrip && !(normalized && json.normalizer),
    );
    const { pre_tokenizer: pre } = this.#inside;
    const steps = stepsOf(json.pre_tokenizer);
    const last = steps.at(-1);
    if (plain && !json.normalizer && pre !== null && last?.type === 'ByteLevel' && last.add_prefix_space === false) {
      if (steps.length === 1 && last.use_regex !== false && pre.pattern !== undefined) {
        const { pattern } = pre;
        this.#words = (text) => text.match(pattern) ?? [];
      } else if (last.use_regex === false && pre.tokenizers?.length === steps.length) {
        const first = pre.tokenizers.slice(0, -1);
        this.#words = (text) => first.reduce((words, step) => words.flatMap((word) => step(word)), [text]);
      }
      if (this.#words !== undefined) this.#bytes = byteLevel;
    }
    const contents = added.map(({ content }) => content).toSorted((a, b) => b.length - a.length);
    for (const content of contents) this.#addedIds.set(content, this.#tokenizer.token_to_id(content) as number);
    if (contents.length > 0) this.#added = new RegExp(contents.map(escaped).join('|'), 'gu');
    const without: readonly number[] = this.#tokenizer.encode('a', { add_special_tokens: false }).ids;
    const all: readonly number[] = this.#tokenizer.encode('a', { add_special_tokens: true }).ids;
    const at = all.findIndex((_, index) => without.every((id, each) => all[index + each] === id));
    if (at < 0) throw unsupported('its post-processor changes the tokens of the text');
    this.before = all.slice(0, at);
    this.behind = all.slice(at + without.length);
  }

  /** Without special tokens. */
  encode(text: string): Int32Array {
    if (this.#words === undefined)
      return Int32Array.from(this.#tokenizer.encode(text, { add_special_tokens: false }).ids);
    const out: number[] = [];
    let from = 0;
    if (this.#added !== undefined) {
      for (const { 0: token, index } of text.matchAll(this.#added)) {
        if (index > from) this.#section(text.slice(from, index), out);
        out.push(this.#addedIds.get(token) as number);
        from = index + token.length;
      }
    }
    if (from < text.length) this.#section(from === 0 ? text : text.slice(from), out);
    return Int32Array.from(out);
  }

  /** The library alone, to compare with. */
  encodeByLibrary(text: string): Int32Array {
    return Int32Array.from(this.#tokenizer.encode(text, { add_special_tokens: false }).ids);
  }

  #section(text: string, out: number[]): void {
    for (const word of (this.#words as Words)(text)) {
      let ids = this.#known.get(word);
      if (ids === undefined) {
        ids = this.#wordIds(word);
        if (word.length <= tokenizerLimits.wordCharsCachedMax) {
          if (this.#known.size >= tokenizerLimits.wordsCachedMax) this.#known = new Map();
          // A slice of a prompt would keep the whole prompt alive.
          this.#known.set(Buffer.from(word, 'utf8').toString('utf8'), ids);
        }
      }
      for (const id of ids) out.push(id);
    }
  }

  #wordIds(word: string): number[] {
    const { model } = this.#inside;
    const tokens = model((this.#bytes as Words)(word));
    return tokens.map((token) => (model.tokens_to_ids.get(token) ?? model.unk_token_id) as number);
  }
}

const byteSigns: readonly string[] = (() => {
  const signs: string[] = [];
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const shown = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    signs.push(String.fromCharCode(shown ? byte : next++));
  }
  return signs;
})();

const byteLevel: Words = (word) => {
  let out = '';
  for (const byte of Buffer.from(word, 'utf8')) out += byteSigns[byte] as string;
  return [out];
};

const unsupported = (why: string, cause?: unknown): CodedError =>
  new CodedError('TOKENIZER_UNSUPPORTED', `this tokenizer cannot be followed exactly: ${why}`, {
    advice: 'Leave the model out of "tokenizers": its prompts are then compared by their text.',
    cause,
  });

/** What the library is known to do otherwise than the engine. */
function refuseWhatDiffers({ added_tokens: added = [], model = {} }: TokenizerJson): void {
  const word = added.find(({ single_word: single }) => single === true);
  if (word !== undefined) throw unsupported(`the added token "${word.content}" counts as a word only`);
  if (typeof model['dropout'] === 'number' && model['dropout'] > 0) throw unsupported('it has dropout');
  if (model['continuing_subword_prefix'] && model['type'] === 'BPE') throw unsupported('its BPE marks parts of words');
  if (model['fuse_unk'] === true && model['byte_fallback'] !== true && model['unk_token'])
    throw unsupported('it joins unknown characters');
}
