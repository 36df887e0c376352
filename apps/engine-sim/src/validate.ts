import { ApiError, badRequest, badValue, invalid, pythonFloat, pythonInput } from './errors.ts';

export type Body = Record<string, unknown>;

const topLogprobsMax = 20;
/** The real server's default of `VLLM_MAX_N_SEQUENCES`. */
const choicesMax = 16_384;

/** Parses a body as the real server does: content type, JSON, object. */
export function parseBody(contentType: string | undefined, text: string): Body {
  if (!(contentType ?? '').startsWith('application/json')) {
    throw new ApiError(
      400,
      "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed",
      'Bad Request',
    );
  }
  if (text === '') {
    throw invalid([{ type: 'missing', loc: 'body', msg: 'Field required', input: 'None' }]);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const at = /position (\d+)/.exec((error as Error).message)?.[1] ?? String(text.length);
    throw invalid([
      {
        type: 'json_invalid',
        loc: `body.${at}`,
        msg: 'JSON decode error',
        input: '<dict of 0 items>',
        context: "{'error': 'Expecting value'}",
      },
    ]);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    const msg = 'Input should be a valid dictionary or object to extract fields from';
    throw invalid([{ type: 'model_attributes_type', loc: 'body', msg, input: pythonInput(value) }]);
  }
  return value as Body;
}

type Kind = 'int' | 'float' | 'list' | 'string' | 'bool';

const words: Record<Kind, { type: string; msg: string; parsing?: string; parsingMsg?: string }> = {
  int: {
    type: 'int_type',
    msg: 'Input should be a valid integer',
    parsing: 'int_parsing',
    parsingMsg: 'Input should be a valid integer, unable to parse string as an integer',
  },
  float: {
    type: 'float_type',
    msg: 'Input should be a valid number',
    parsing: 'float_parsing',
    parsingMsg: 'Input should be a valid number, unable to parse string as a number',
  },
  list: { type: 'list_type', msg: 'Input should be a valid list' },
  string: { type: 'string_type', msg: 'Input should be a valid string' },
  bool: { type: 'bool_type', msg: 'Input should be a valid boolean' },
};

function fits(kind: Kind, value: unknown): boolean {
  if (kind === 'int') return Number.isInteger(value);
  if (kind === 'float') return typeof value === 'number';
  if (kind === 'list') return Array.isArray(value);
  return typeof value === (kind === 'bool' ? 'boolean' : 'string');
}

/** Types of the members that are there. Null passes, as in the real server's optional fields. */
export function checkTypes(body: Body, kinds: Readonly<Record<string, Kind>>, required: readonly string[] = []): void {
  const violations = [];
  for (const [name, kind] of Object.entries(kinds)) {
    const value = body[name];
    const loc = `body.${name}`;
    if (value === undefined || value === null) {
      if (required.includes(name))
        violations.push({ type: 'missing', loc, msg: 'Field required', input: pythonInput(body) });
      continue;
    }
    if (fits(kind, value)) continue;
    const { type, msg, parsing = type, parsingMsg = msg } = words[kind];
    const text = typeof value === 'string';
    violations.push({ type: text ? parsing : type, loc, msg: text ? parsingMsg : msg, input: pythonInput(value) });
  }
  if (violations.length > 0) throw invalid(violations);
}

/** Ranges of sampling parameters, in the real server's order. */
export function checkSampling(body: Body, maxTokens: number | undefined, maxModelLen: number): void {
  const { n, temperature, top_p: topP, top_logprobs: topLogprobs, stream, stream_options: streamOptions } = body;
  if (streamOptions !== undefined && streamOptions !== null && stream !== true) {
    throw badValue('Stream options can only be defined when `stream=True`.', 'stream_options');
  }
  if (body['tool_choice'] === 'auto' && Array.isArray(body['tools'])) {
    throw badRequest('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set');
  }
  if (typeof n === 'number' && n < 1) throw badRequest(`n must be at least 1, got ${n}.`);
  if (typeof n === 'number' && n > choicesMax) throw badRequest(`n must be at most ${choicesMax}, got ${n}.`);
  if (typeof temperature === 'number' && temperature < 0) {
    const shown = pythonFloat(temperature);
    throw badValue(`temperature must be non-negative, got ${shown}.`, 'temperature', shown);
  }
  if (typeof topP === 'number' && !(topP > 0 && topP <= 1)) {
    throw badValue(`top_p must be in (0, 1], got ${pythonFloat(topP)}.`, 'top_p', pythonFloat(topP));
  }
  if (maxTokens !== undefined && maxTokens < 1) {
    throw badValue(`max_tokens must be at least 1, got ${maxTokens}.`, 'max_tokens', String(maxTokens));
  }
  const minTokens = body['min_tokens'];
  if (typeof minTokens === 'number' && minTokens < 0) {
    throw badRequest(`min_tokens must be greater than or equal to 0, got ${minTokens}.`);
  }
  if (typeof minTokens === 'number' && maxTokens !== undefined && minTokens > maxTokens) {
    throw badRequest(`min_tokens must be less than or equal to max_tokens=${maxTokens}, got ${minTokens}.`);
  }
  if (maxTokens !== undefined && maxTokens > maxModelLen) {
    throw badValue(
      `max_tokens=${maxTokens} cannot be greater than max_model_len=${maxModelLen}. Please request fewer output tokens.`,
      'max_tokens',
      String(maxTokens),
    );
  }
  if (typeof topLogprobs === 'number' && topLogprobs > topLogprobsMax) {
    const message = `Requested sample logprobs of ${topLogprobs}, which is greater than max allowed: ${topLogprobsMax}`;
    throw badRequest(`${message} (parameter=logprobs, value=${topLogprobs})`, 'logprobs');
  }
}

/** Prompt of the context at most. */
export function checkLength(promptTokens: number, maxModelLen: number): void {
  if (promptTokens < maxModelLen) return;
  throw badValue(
    `This model's maximum context length is ${maxModelLen} tokens. However, your prompt contains ${promptTokens} input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt.`,
    'input_tokens',
    String(promptTokens),
  );
}

/** The kinds of message whose wishes the real server tells first, and how many wishes it counts in all. */
const kindsOfMessage = ['Developer', 'System', 'User', 'Assistant'];
const wishesOfContent = 22;

/** A message's content is text or parts. */
export function checkContents(messages: readonly unknown[]): void {
  for (const [index, message] of messages.entries()) {
    const { content, role } = (typeof message === 'object' && message !== null ? message : {}) as Body;
    if (content === undefined || content === null || typeof content === 'string' || Array.isArray(content)) continue;
    throw contentError(index, content, role);
  }
}

function contentError(index: number, content: unknown, role: unknown): ApiError {
  const violations = kindsOfMessage.flatMap((kind) => {
    const loc = `body.messages.${index}.ChatCompletion${kind}MessageParam`;
    const input = pythonInput(content);
    const wanted = kind.toLowerCase();
    const literal = {
      type: 'literal_error',
      loc: `${loc}.role`,
      msg: `Input should be '${wanted}'`,
      input: pythonInput(role),
      context: `{'expected': "'${wanted}'"}`,
    };
    const text = [
      { type: 'string_type', loc: `${loc}.content`, msg: 'Input should be a valid string', input },
      { type: 'iterable_type', loc: `${loc}.content`, msg: 'Input should be iterable', input },
    ];
    if (role === wanted) return text;
    return kind === 'Assistant' ? [literal, ...text] : [...text, literal];
  });
  return invalid(violations, wishesOfContent);
}
