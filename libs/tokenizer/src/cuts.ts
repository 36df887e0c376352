import { tokenizerLimits } from './limits.ts';
import type { TokenizerJson } from './text-encoder.ts';
import { stepsOf } from './text-encoder.ts';

/**
 * Patterns whose words end between a letter and a space that has a letter behind it, whatever stands around: a run of letters is
 * taken as long as it goes and none of them looks back.
 */
const wordPatterns: readonly string[] = [
  String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`,
  String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
  String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
  String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
];

/** Between two words; behind the one line break before a word. */
const betweenWords = String.raw`(?<=[A-Za-z]) (?=[A-Za-z])|(?<=\S\n)(?=\p{L})`;

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);

const addedMax = 4_096;

/** Tokens that may be found in the middle of others: the tail of one begins as they do. */
function overlapping(tokens: readonly string[]): ReadonlySet<string> {
  const tails = new Set<string>();
  const inside = new Set<string>();
  for (const token of tokens) {
    for (let at = 1; at < token.length; at++) {
      tails.add(token.slice(at));
      for (let end = at + 1; end <= token.length; end++) inside.add(token.slice(at, end));
    }
  }
  const begins = (token: string): boolean => {
    for (let end = 1; end <= token.length; end++) if (tails.has(token.slice(0, end))) return true;
    return false;
  };
  return new Set(tokens.filter((token) => inside.has(token) || begins(token)));
}

/**
 * Where a text may be cut so that the tokens of its parts are the tokens of the whole: before a special token, which nothing joins
 * with what stands before it; between two words, where the pre-tokenizer is one known to cut there.
 */
export class Cuts {
  readonly #places: RegExp | undefined;

  constructor({ added_tokens: added = [], normalizer, pre_tokenizer: pre }: TokenizerJson) {
    if (added.length > addedMax) return;
    const contents = added.map(({ content }) => content);
    const apart = overlapping(contents);
    const places = added
      .filter(({ content, lstrip, normalized }) => !lstrip && !(normalized && normalizer) && content.length > 1)
      .filter(({ content }) => !apart.has(content))
      .map(({ content }) => escaped(content));
    const steps = stepsOf(pre);
    const last = steps.at(-1);
    const first = steps[0];
    const bytes = last?.type === 'ByteLevel' && last.add_prefix_space === false;
    const whole = steps.length === 1 && last?.use_regex !== false;
    const split =
      steps.length === 2 &&
      last?.use_regex === false &&
      first?.type === 'Split' &&
      first.behavior?.toLowerCase() === 'isolated' &&
      wordPatterns.includes(first.pattern?.Regex ?? '');
    const between = new RegExp(betweenWords, 'u');
    const joined = contents.some(
      (content) => between.test(content) || content.startsWith(' ') || content.includes('\n'),
    );
    const spaced = added.some(({ lstrip, rstrip }) => lstrip === true || rstrip === true);
    if (bytes && (whole || split) && !normalizer && !joined && !spaced) places.push(betweenWords);
    this.#places = places.length === 0 ? undefined : new RegExp(places.join('|'), 'gu');
  }

  /** The first safe place at least `chunkCharsMin` behind `from`; −1 where there is none near. It never depends on what stands further on. */
  next(text: string, from: number): number {
    const places = this.#places;
    const start = from + tokenizerLimits.chunkCharsMin;
    if (places === undefined || start >= text.length) return -1;
    places.lastIndex = start;
    const at = places.exec(text)?.index ?? -1;
    return at - from > tokenizerLimits.chunkCharsMax ? -1 : at;
  }
}
