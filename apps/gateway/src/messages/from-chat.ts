import type { Json } from './json.ts';
import { isObject, textOf } from './json.ts';

const count = (value: unknown): number => (typeof value === 'number' && value >= 0 ? value : 0);

/** Anthropic counts what the cache gave apart from the input. */
export function messageUsage(usage: unknown): Json {
  const told = isObject(usage) ? usage : {};
  const details = isObject(told['prompt_tokens_details']) ? told['prompt_tokens_details'] : {};
  const cached = Math.min(count(details['cached_tokens']), count(told['prompt_tokens']));
  return {
    input_tokens: count(told['prompt_tokens']) - cached,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: cached,
    output_tokens: count(told['completion_tokens']),
  };
}

export interface Stop {
  readonly stop_reason: string;
  readonly stop_sequence: string | null;
}

/**
 * `matched`: vLLM's word for the stop string that was met. `called`: the answer has calls; of a tool that had to be used
 * OpenAI's word is "stop", and Anthropic's clients run tools only where the reason says so.
 */
export function stopOf(reason: unknown, matched: unknown, called: boolean): Stop {
  if (reason === 'length') return { stop_reason: 'max_tokens', stop_sequence: null };
  if (reason === 'tool_calls' || reason === 'function_call' || (reason === 'stop' && called))
    return { stop_reason: 'tool_use', stop_sequence: null };
  if (reason === 'content_filter') return { stop_reason: 'refusal', stop_sequence: null };
  return typeof matched === 'string' && matched !== ''
    ? { stop_reason: 'stop_sequence', stop_sequence: matched }
    : { stop_reason: 'end_turn', stop_sequence: null };
}

/** What a model thought, under either of the names that engines give it. */
export const thinkingIn = (said: Json): string => textOf(said['reasoning_content']) || textOf(said['reasoning']);

/** An answer of chat completions as a message; undefined where it is none. `thinks`: the client asked for thinking. */
export function messageOf(chat: unknown, thinks: boolean): Json | undefined {
  if (!isObject(chat) || !Array.isArray(chat['choices'])) return undefined;
  const choice: unknown = chat['choices'][0];
  if (!isObject(choice) || !isObject(choice['message'])) return undefined;
  const { message } = choice;
  const content: Json[] = [];
  const thinking = thinks ? thinkingIn(message) : '';
  if (thinking !== '') content.push({ type: 'thinking', thinking, signature: '' });
  const text = textOf(message['content']) || textOf(message['refusal']);
  if (text !== '') content.push({ type: 'text', text });
  for (const call of Array.isArray(message['tool_calls']) ? (message['tool_calls'] as unknown[]) : []) {
    if (!isObject(call) || !isObject(call['function'])) return undefined;
    const input = argumentsOf(call['function']['arguments']);
    if (input === undefined) return undefined;
    content.push({ type: 'tool_use', id: call['id'], name: call['function']['name'], input });
  }
  return {
    id: textOf(chat['id']),
    type: 'message',
    role: 'assistant',
    model: textOf(chat['model']),
    content,
    ...stopOf(
      choice['finish_reason'],
      choice['stop_reason'],
      content.some(({ type }) => type === 'tool_use'),
    ),
    usage: messageUsage(chat['usage']),
  };
}

function argumentsOf(text: unknown): unknown {
  if (text === undefined || text === '') return {};
  try {
    // vLLM says "null" of a call without arguments; the clients' types want an object.
    return (JSON.parse(textOf(text)) as unknown) ?? {};
  } catch {
    // A call that was cut by max_tokens: nobody could make anything of half of it.
    return undefined;
  }
}

/** An answer of /tokenize as a count; undefined where it is none. */
export function countOf(answer: unknown): Json | undefined {
  if (!isObject(answer)) return undefined;
  const { count: told, tokens } = answer;
  const counted = typeof told === 'number' ? told : Array.isArray(tokens) ? tokens.length : undefined;
  return counted === undefined ? undefined : { input_tokens: counted };
}

/** What an engine says against a request, in whatever shape. */
export function errorMessageOf(body: unknown, fallback: string): string {
  if (!isObject(body)) return fallback;
  const { error } = body;
  const nested = isObject(error) ? textOf(error['message']) : textOf(error);
  return nested || textOf(body['message']) || textOf(body['detail']) || fallback;
}
