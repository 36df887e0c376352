/** Why the tokens of a request are not known. */
export type TokensUnknown =
  | 'no-tokenizer'
  | 'endpoint'
  | 'several-prompts'
  | 'multimodal'
  | 'chat-template'
  | 'template-failed'
  | 'truncated'
  | 'malformed'
  | 'inexact-json'
  | 'too-long'
  | 'computing'
  | 'overloaded'
  | 'differs';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };
export type JsonObject = { readonly [name: string]: Json };
export type ContentFormat = 'string' | 'openai';

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A message as templates see it. */
export type Message = Record<string, unknown>;

export interface Unknown {
  readonly unknown: TokensUnknown;
}
export const isUnknown = (value: unknown): value is Unknown => isObject(value) && 'unknown' in value;
const malformed: Unknown = { unknown: 'malformed' };
const multimodal: Unknown = { unknown: 'multimodal' };

const textTypes = new Set(['text', 'input_text', 'output_text', 'refusal', 'thinking']);
/** Fields of a text part that vLLM knows; others go on to the template. */
const knownPartFields =
  /^(type|text|refusal|thinking|closed|cache_control|prompt_cache_breakpoint|annotations|logprobs|name|uuid|data|file|detail|.*_(url|embeds|pil)|input_audio)$/;
const billingHeader = 'x-anthropic-billing-header';

/** Text of a part, undefined for one that is passed over, null where it is no text. */
function partText(part: Json): string | undefined | null {
  if (typeof part === 'string') return part;
  if (!isObject(part)) return null;
  const { type } = part;
  if (typeof type !== 'string' || !textTypes.has(type) || (part['uuid'] !== undefined && part['uuid'] !== null))
    return null;
  const text = type === 'refusal' ? part['refusal'] : type === 'thinking' ? part['thinking'] : part['text'];
  if (text === undefined || text === null) return type === 'text' || type === 'refusal' ? undefined : null;
  return typeof text === 'string' ? text : null;
}

/** The template would not see this header of one client: it changes with each request. */
function withoutBilling(text: string): string | undefined {
  if (!text.startsWith(billingHeader)) return text;
  const at = text.indexOf('\n');
  const rest = at < 0 ? '' : text.slice(at + 1);
  return rest === '' ? undefined : rest;
}

function contentOf(message: JsonObject, format: ContentFormat): string | readonly unknown[] | Unknown {
  const { role, content = null } = message;
  const parts: readonly Json[] =
    content === null ? [] : typeof content === 'string' ? [content] : (content as readonly Json[]);
  if (!Array.isArray(parts)) return malformed;
  const texts: string[] = [];
  const dicts: unknown[] = [];
  for (const part of parts) {
    let text = partText(part);
    if (text === null) return isObject(part) ? multimodal : malformed;
    if (text !== undefined && role === 'system') text = withoutBilling(text);
    if (text === undefined) continue;
    texts.push(text);
    if (format === 'openai') {
      const extra = isObject(part) ? Object.entries(part).filter(([name]) => !knownPartFields.test(name)) : [];
      dicts.push({ type: 'text', text, ...Object.fromEntries(extra) });
    }
  }
  return format === 'string' || role === 'tool' ? texts.join('\n') : dicts;
}

function argumentsOf(given: Json | undefined): unknown {
  if (isObject(given)) return given;
  if (typeof given !== 'string' || given === '') return {};
  try {
    const parsed: unknown = JSON.parse(given);
    return isObject(parsed) ? parsed : {};
  } catch {
    return {};
  }
}

/** Messages of a request as the engine gives them to the template: parts joined or kept, arguments of tool calls as objects. */
export function conversation(messages: readonly Json[], format: ContentFormat): Message[] | Unknown {
  const out: Message[] = [];
  for (const message of messages) {
    if (!isObject(message) || typeof message['role'] !== 'string') return malformed;
    const { role } = message;
    const content = contentOf(message, format);
    if (isUnknown(content)) return content;
    const made: Message = { role, content };
    if (role === 'assistant') {
      const calls = message['tool_calls'];
      if (Array.isArray(calls) && calls.length > 0) {
        const parsed: unknown[] = [];
        for (const call of calls as readonly Json[]) {
          if (!isObject(call) || !isObject(call['function'])) return malformed;
          parsed.push({
            ...call,
            function: { ...call['function'], arguments: argumentsOf(call['function']['arguments']) },
          });
        }
        made['tool_calls'] = parsed;
      }
      const reasoning = message['reasoning'] ?? message['reasoning_content'];
      if (typeof reasoning === 'string') made['reasoning'] = made['reasoning_content'] = reasoning;
    }
    if (role === 'tool' && message['tool_call_id'] !== undefined) made['tool_call_id'] = message['tool_call_id'];
    if (typeof message['name'] === 'string') made['name'] = message['name'];
    if (typeof message['task'] === 'string') made['task'] = message['task'];
    if (role === 'developer') made['tools'] = message['tools'] ?? null;
    out.push(made);
  }
  return out;
}

/** Tools as the engine shows them: its own order of fields, those that are unset left out as it does. */
export function toolsOf(given: Json | undefined): readonly unknown[] | undefined | Unknown {
  if (given === undefined || given === null) return undefined;
  if (!Array.isArray(given)) return malformed;
  const tools: unknown[] = [];
  for (const tool of given as readonly Json[]) {
    if (!isObject(tool) || !isObject(tool['function']) || typeof tool['function']['name'] !== 'string')
      return malformed;
    const { name, description = null, parameters = null, strict, defer_loading: ownDefer } = tool['function'];
    const defer = ownDefer ?? tool['defer_loading'];
    const deferred = defer === undefined || defer === null ? {} : { defer_loading: defer };
    const stricter = strict === undefined || strict === null ? {} : { strict };
    const topDefer = tool['defer_loading'];
    tools.push({
      type: 'function',
      function: { name, description, parameters, ...stricter, ...deferred },
      ...(topDefer === undefined || topDefer === null ? {} : { defer_loading: topDefer }),
    });
  }
  return tools;
}
