/** A completion or chat request whose stream another replica can go on with. */
export interface ContinuableRequest {
  readonly chat: boolean;
  /** The client asked for the usage of its stream. */
  readonly wantsUsage: boolean;
  readonly body: Buffer;
  /** Of the answer; undefined is not bounded. */
  readonly maxTokens: number | undefined;
}

/** OpenAI's and vLLM's for completions that do not say. */
const completionTokensDefault = 16;

/** Fields whose presence makes a continued answer another one than the whole: each value stands for "not asked for". */
const neutral: Readonly<Record<string, readonly unknown[]>> = {
  n: [1],
  best_of: [1],
  // Counted over the answer alone, of which the second replica would see only its own part.
  frequency_penalty: [0],
  presence_penalty: [0],
  echo: [false],
  suffix: [''],
  logprobs: [false],
  top_logprobs: [0],
  prompt_logprobs: [],
  tools: [],
  functions: [],
  response_format: [],
  structured_outputs: [],
  guided_json: [],
  guided_regex: [],
  guided_choice: [],
  guided_grammar: [],
  grammar: [],
  regex: [],
  ebnf: [],
  json_schema: [],
  use_beam_search: [false],
  truncate_prompt_tokens: [],
  return_token_ids: [false],
  return_tokens_as_token_ids: [false],
  kv_transfer_params: [],
  audio: [],
  prediction: [],
  thinking_token_budget: [],
};

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isTextFormat = (value: unknown): boolean =>
  isObject(value) && value['type'] === 'text' && Object.keys(value).length === 1;
const isEmptyList = (value: unknown): boolean => Array.isArray(value) && value.length === 0;

function isNeutral(name: string, value: unknown): boolean {
  if (value === undefined || value === null || (neutral[name] as readonly unknown[]).includes(value)) return true;
  if (name === 'response_format') return isTextFormat(value);
  return (name === 'tools' || name === 'functions') && isEmptyList(value);
}

/**
 * What it takes to go on with the stream of this body elsewhere; undefined where the joined answer would not be exact enough: several
 * choices, log probabilities, tools, schemas, penalties over the answer, prompts that are no text.
 */
export function continuableRequest(body: Buffer, chat: boolean): ContinuableRequest | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body.toString('utf8'));
  } catch {
    return undefined;
  }
  if (!isObject(parsed)) return undefined;
  for (const name of Object.keys(neutral)) if (!isNeutral(name, parsed[name])) return undefined;
  const options = isObject(parsed['stream_options']) ? parsed['stream_options'] : {};
  if (options['continuous_usage_stats'] === true) return undefined;
  // JSON's numbers beyond these are not what they were once they have been read.
  if (typeof parsed['seed'] === 'number' && !Number.isSafeInteger(parsed['seed'])) return undefined;
  if (chat ? !openEnded(parsed) : typeof parsed['prompt'] !== 'string') return undefined;
  const said = chat ? (parsed['max_completion_tokens'] ?? parsed['max_tokens']) : parsed['max_tokens'];
  const maxTokens = typeof said === 'number' ? said : chat ? undefined : completionTokensDefault;
  return { chat, wantsUsage: options['include_usage'] === true, body, maxTokens };
}

/** Messages to which the text of an answer can be appended. */
function openEnded({ messages, continue_final_message: goesOn }: Record<string, unknown>): boolean {
  if (!Array.isArray(messages) || messages.length === 0) return false;
  const last: unknown = messages.at(-1);
  return goesOn !== true || (isObject(last) && last['role'] === 'assistant' && typeof last['content'] === 'string');
}

/** The body that has another replica go on after `text`, `tokens` long. `tellUsage`: its usage is wanted. */
export function continuedBody(request: ContinuableRequest, text: string, tokens: number, tellUsage: boolean): Buffer {
  const body = JSON.parse(request.body.toString('utf8')) as Record<string, unknown>;
  if (tellUsage) body['stream_options'] = { ...(body['stream_options'] as object | null), include_usage: true };
  // Nothing was said yet: it begins anew.
  if (text === '') return Buffer.from(JSON.stringify(body));
  if (request.chat) {
    const messages = body['messages'] as Record<string, unknown>[];
    const last = messages.at(-1) as Record<string, unknown>;
    body['messages'] =
      body['continue_final_message'] === true
        ? [...messages.slice(0, -1), { ...last, content: `${String(last['content'])}${text}` }]
        : [...messages, { role: 'assistant', content: text }];
    body['continue_final_message'] = true;
    body['add_generation_prompt'] = false;
  } else body['prompt'] = `${String(body['prompt'])}${text}`;
  for (const name of ['max_tokens', 'max_completion_tokens', 'min_tokens']) {
    const said = body[name] ?? (name === 'max_tokens' && !request.chat ? request.maxTokens : undefined);
    if (typeof said === 'number') body[name] = Math.max(name === 'min_tokens' ? 0 : 1, said - tokens);
  }
  return Buffer.from(JSON.stringify(body));
}
