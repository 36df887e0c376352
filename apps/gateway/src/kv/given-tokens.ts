/** A request whose prompt's tokens are asked for. */
export interface TokensAsked {
  readonly path: string;
  /** The base model of an adapter. */
  readonly base: string;
  readonly body: Buffer;
  /** Of the prompt's value in the body. */
  readonly promptStart: number;
  readonly promptEnd: number;
}

const bracket = 0x5b;

/** A prompt that is given as token ids needs no tokenizer. */
export function givenTokens({ path, body, promptStart, promptEnd }: TokensAsked): ArrayLike<number> | undefined {
  if (path !== '/v1/completions' || body[promptStart] !== bracket) return undefined;
  try {
    const ids: unknown = JSON.parse(body.toString('utf8', promptStart, promptEnd));
    // Several prompts in one request are several, whose answer says only their sum.
    if (!Array.isArray(ids) || !ids.every((id) => Number.isInteger(id) && id >= 0)) return undefined;
    return ids as number[];
  } catch {
    return undefined;
  }
}
