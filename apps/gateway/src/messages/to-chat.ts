import type { Json } from './json.ts';
import { isObject, textOf } from './json.ts';
import { Untranslatable } from './untranslatable.ts';

type Out = Record<string, unknown>;

/** Fields that both protocols have by the same name and meaning, or that vLLM reads beside OpenAI's own. */
const same = ['model', 'max_tokens', 'temperature', 'top_p', 'top_k', 'stream'] as const;

/**
 * A body of /v1/messages as one of /v1/chat/completions. Fields that mean nothing there are left out: `metadata` (but for the user's id),
 * `cache_control`, `service_tier`, `container`.
 * @throws Untranslatable
 */
export function chatOf(body: Json, asksUsage: boolean): Json {
  const out: Out = {};
  for (const name of same) if (body[name] !== undefined) out[name] = body[name];
  out['messages'] = messagesOf(body);
  if (Array.isArray(body['stop_sequences']) && body['stop_sequences'].length > 0) out['stop'] = body['stop_sequences'];
  const user = isObject(body['metadata']) ? textOf(body['metadata']['user_id']) : '';
  if (user !== '') out['user'] = user;
  const tools = toolsOf(body);
  if (tools !== undefined) out['tools'] = tools;
  Object.assign(out, choiceOf(body['tool_choice']));
  if (body['stream'] === true && asksUsage) out['stream_options'] = { include_usage: true };
  return out;
}

/** The same of /v1/messages/count_tokens for /tokenize, which applies the chat template. */
export function tokenizeOf(body: Json): Json {
  const tools = toolsOf(body);
  const out: Out = { model: body['model'], messages: messagesOf(body), add_generation_prompt: true };
  if (tools !== undefined) out['tools'] = tools;
  return out;
}

function toolsOf({ tools }: Json): Out[] | undefined {
  if (!Array.isArray(tools) || tools.length === 0) return undefined;
  return tools.map((tool: unknown, index) => {
    if (!isObject(tool) || typeof tool['name'] !== 'string' || !isObject(tool['input_schema'])) {
      throw new Untranslatable(
        `tools[${index}] is run by Anthropic's servers or has no name and input_schema, and this engine takes functions only. Leave it out.`,
        'tools',
      );
    }
    const { name, description, input_schema: parameters } = tool;
    return { type: 'function', function: { name, ...(description === undefined ? {} : { description }), parameters } };
  });
}

function choiceOf(choice: unknown): Out {
  if (!isObject(choice)) return {};
  const out: Out = choice['disable_parallel_tool_use'] === true ? { parallel_tool_calls: false } : {};
  if (choice['type'] === 'tool') out['tool_choice'] = { type: 'function', function: { name: choice['name'] } };
  else if (choice['type'] === 'any') out['tool_choice'] = 'required';
  else if (choice['type'] === 'auto' || choice['type'] === 'none') out['tool_choice'] = choice['type'];
  else throw new Untranslatable('tool_choice must be of type auto, any, tool or none.', 'tool_choice');
  return out;
}

function messagesOf(body: Json): Out[] {
  const out: Out[] = [];
  const { messages, system } = body;
  const said = typeof system === 'string' ? system : Array.isArray(system) ? textsOf(system, 'system') : '';
  if (said !== '') out.push({ role: 'system', content: said });
  if (!Array.isArray(messages)) throw new Untranslatable('messages must be a list.', 'messages');
  const loop = loopStart(messages);
  for (const [index, message] of messages.entries()) {
    if (!isObject(message)) throw new Untranslatable(`messages[${index}] must be an object.`, 'messages');
    const { role, content } = message;
    if (role !== 'user' && role !== 'assistant' && role !== 'system') {
      throw new Untranslatable(`messages[${index}].role must be "user" or "assistant".`, 'messages');
    }
    if (typeof content === 'string') out.push({ role, content });
    else if (!Array.isArray(content)) {
      throw new Untranslatable(`messages[${index}].content must be text or a list.`, 'messages');
    } else if (role === 'assistant') out.push(assistantOf(content, index > loop, index));
    else out.push(...userOf(content, role, index));
  }
  return out;
}

/** The last message in which a user said something, and not a tool: thinking after it belongs to what is under way. */
function loopStart(messages: readonly unknown[]): number {
  for (let index = messages.length - 1; index >= 0; index--) {
    const message = messages[index];
    if (!isObject(message) || message['role'] !== 'user') continue;
    const { content } = message;
    if (!Array.isArray(content) || content.some((part) => isObject(part) && part['type'] !== 'tool_result'))
      return index;
  }
  return -1;
}

/** Thinking stays where the same turn still goes on over its tools; what came before is left out, as Anthropic does. */
function assistantOf(content: readonly unknown[], goesOn: boolean, index: number): Out {
  let text = '';
  let thinking = '';
  const calls: Out[] = [];
  for (const part of content) {
    const type = isObject(part) ? part['type'] : undefined;
    if (!isObject(part)) throw unknownPart(index, 'what is no object');
    if (type === 'text') text += textOf(part['text']);
    else if (type === 'thinking') thinking += textOf(part['thinking']);
    else if (type === 'redacted_thinking') continue;
    else if (type === 'tool_use') {
      const call = { name: part['name'], arguments: JSON.stringify(part['input'] ?? {}) };
      calls.push({ id: part['id'], type: 'function', function: call });
    } else throw unknownPart(index, String(type));
  }
  const out: Out = { role: 'assistant', content: text === '' && calls.length > 0 ? null : text };
  if (goesOn && thinking !== '') out['reasoning_content'] = thinking;
  if (calls.length > 0) out['tool_calls'] = calls;
  return out;
}

/** What tools answered comes first, each as a message of its own: it must follow the call. */
function userOf(content: readonly unknown[], role: string, index: number): Out[] {
  const results: Out[] = [];
  const parts: Out[] = [];
  for (const part of content) {
    if (!isObject(part)) throw unknownPart(index, 'what is no object');
    if (part['type'] === 'tool_result') {
      const { content: said, images } = resultOf(part, index);
      results.push({ role: 'tool', tool_call_id: part['tool_use_id'], content: said });
      parts.push(...images);
    } else parts.push(partOf(part, index));
  }
  if (parts.length === 0) return results;
  const plain = parts.every(({ type }) => type === 'text');
  const said = plain && parts.length === 1 ? parts[0]?.['text'] : parts;
  return [...results, { role, content: said }];
}

/** Tools answer in text alone there: images follow as the user's. */
function resultOf(part: Json, index: number): { content: string; images: Out[] } {
  const { content, is_error: failed } = part;
  const images: Out[] = [];
  let text = typeof content === 'string' ? content : '';
  for (const each of Array.isArray(content) ? (content as unknown[]) : []) {
    if (!isObject(each)) throw unknownPart(index, 'what is no object');
    const out = partOf(each, index);
    if (out['type'] === 'text') text += textOf(out['text']);
    else images.push(out);
  }
  return { content: failed === true ? `Error: ${text}` : text, images };
}

/** URLs go on as they are: the gateway fetches nothing. */
function partOf(part: Json, index: number): Out {
  const { type, source } = part;
  if (type === 'text') return { type: 'text', text: textOf(part['text']) };
  if (type === 'image' && isObject(source)) {
    if (source['type'] === 'url') return { type: 'image_url', image_url: { url: source['url'] } };
    if (source['type'] === 'base64') {
      const url = `data:${textOf(source['media_type'])};base64,${textOf(source['data'])}`;
      return { type: 'image_url', image_url: { url } };
    }
  }
  if (type === 'document' && isObject(source) && source['type'] === 'text') {
    return { type: 'text', text: textOf(source['data']) };
  }
  throw unknownPart(index, String(type));
}

function textsOf(parts: readonly unknown[], where: string): string {
  return parts
    .map((part) => {
      if (!isObject(part) || part['type'] !== 'text') throw new Untranslatable(`${where} must be text.`, where);
      return textOf(part['text']);
    })
    .join('\n');
}

const unknownPart = (index: number, type: string): Untranslatable =>
  new Untranslatable(
    `messages[${index}] has a content block "${type.slice(0, 64)}" that this engine's chat completions cannot take. Leave it out.`,
    'messages',
  );
