import { topLogprobs } from './generation.ts';
import { pieceOf } from './tokenizer.ts';

const entry = (token: number, logprob: number) => {
  const text = pieceOf(token);
  return { token: text, logprob, bytes: [...Buffer.from(text)] };
};

/** Chat form; undefined `count` is "not asked". */
export function chatLogprobs(tokens: readonly number[], count: number | undefined): { content: unknown[] } | null {
  if (count === undefined) return null;
  const content = tokens.map((token) => {
    const top = topLogprobs(token, count);
    return {
      ...entry(token, top[0]!.logprob),
      top_logprobs: top.slice(0, count).map((each) => entry(each.token, each.logprob)),
    };
  });
  return { content };
}

/** The older form, of `/v1/completions`. `offset` is where the text of the first token starts. */
export function textLogprobs(tokens: readonly number[], count: number | undefined, offset: number) {
  if (count === undefined) return null;
  const out = {
    text_offset: [] as number[],
    token_logprobs: [] as number[],
    tokens: [] as string[],
    top_logprobs: [] as Record<string, number>[],
  };
  let at = offset;
  for (const token of tokens) {
    const text = pieceOf(token);
    const top = topLogprobs(token, count);
    out.text_offset.push(at);
    out.token_logprobs.push(top[0]!.logprob);
    out.tokens.push(text);
    out.top_logprobs.push(Object.fromEntries(top.map((each) => [pieceOf(each.token), each.logprob])));
    at += text.length;
  }
  return out;
}
