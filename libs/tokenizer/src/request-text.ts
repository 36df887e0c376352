import type { ChatTemplate } from './chat-template.ts';
import type { Json, JsonObject, Unknown } from './conversation.ts';
import { conversation, isObject, isUnknown, toolsOf } from './conversation.ts';
import type { ParsedJson } from './exact-json.ts';
import { anyInexact, parseExactly } from './exact-json.ts';

/** What of a request is the prompt: text to be encoded, or tokens that the client gives. */
export type PromptOf =
  | { readonly text: string; readonly addSpecialTokens: boolean }
  | { readonly tokens: readonly number[] }
  | Unknown;

export interface Templates {
  readonly template: ChatTemplate | undefined;
  readonly toolTemplate: ChatTemplate | undefined;
}

const unknown = (reason: Unknown['unknown']): Unknown => ({ unknown: reason });

/** Names that transformers takes for itself: given as template arguments they do other things than to be seen by the template. */
const notForTemplates = new Set([
  'conversation',
  'messages',
  'tools',
  'chat_template',
  'tokenize',
  'padding',
  'truncation',
  'max_length',
  'return_tensors',
  'return_dict',
  'return_assistant_tokens_mask',
  'tokenizer_kwargs',
]);

const isSet = (value: Json | undefined): boolean => value !== undefined && value !== null;

function chatPrompt(body: JsonObject, { inexact }: ParsedJson, templates: Templates): PromptOf {
  const { messages, tools: givenTools, documents, chat_template_kwargs: kwargs = null } = body;
  if (!Array.isArray(messages) || messages.length === 0) return unknown('malformed');
  if (isSet(body['chat_template'])) return unknown('chat-template');
  if (isSet(body['mm_processor_kwargs'])) return unknown('multimodal');
  if (kwargs !== null && !isObject(kwargs)) return unknown('malformed');
  if (kwargs !== null && Object.keys(kwargs).some((name) => notForTemplates.has(name))) return unknown('chat-template');
  const tools = toolsOf(givenTools);
  if (isUnknown(tools)) return tools;
  const template = tools === undefined ? templates.template : (templates.toolTemplate ?? templates.template);
  if (template === undefined) return unknown('chat-template');
  const parsed = conversation(messages as readonly Json[], template.format);
  if (isUnknown(parsed)) return parsed;
  const rewritten = [givenTools, documents, kwargs, ...parsed.map((message) => message['tool_calls'])];
  if (rewritten.some((value) => anyInexact(value, inexact))) return unknown('inexact-json');
  if (parsed.some((message) => argumentsInexact(message['tool_calls'], messages))) return unknown('inexact-json');
  const addGenerationPrompt = body['add_generation_prompt'] ?? true;
  const continueFinalMessage = body['continue_final_message'] ?? false;
  const special = body['add_special_tokens'] ?? false;
  if (typeof addGenerationPrompt !== 'boolean' || typeof continueFinalMessage !== 'boolean')
    return unknown('malformed');
  if (typeof special !== 'boolean' || (addGenerationPrompt && continueFinalMessage)) return unknown('malformed');
  const effort = body['reasoning_effort'];
  const more: Record<string, unknown> = { ...kwargs };
  if (isSet(effort)) {
    more['reasoning_effort'] = effort;
    if (kwargs === null || !('enable_thinking' in kwargs)) more['enable_thinking'] = effort !== 'none';
  }
  const given = documents ?? more['documents'];
  try {
    const text = template.render({
      messages: parsed,
      tools,
      documents: given,
      addGenerationPrompt,
      continueFinalMessage,
      more,
    });
    return text === undefined ? unknown('template-failed') : { text, addSpecialTokens: special };
  } catch {
    return unknown('template-failed');
  }
}

/** Whether arguments of a tool call, which are JSON in a string, would be written otherwise by the template. */
function argumentsInexact(calls: unknown, messages: readonly Json[]): boolean {
  if (calls === undefined) return false;
  for (const message of messages) {
    if (!isObject(message) || !Array.isArray(message['tool_calls'])) continue;
    for (const call of message['tool_calls'] as readonly Json[]) {
      const given = isObject(call) && isObject(call['function']) ? call['function']['arguments'] : undefined;
      if (typeof given !== 'string') continue;
      try {
        const { value, inexact } = parseExactly(given, true);
        if (anyInexact(value, inexact)) return true;
      } catch {
        continue; // the engine makes an empty object of it
      }
    }
  }
  return false;
}

const isIds = (value: unknown): value is readonly number[] =>
  Array.isArray(value) && value.length > 0 && value.every((id) => Number.isInteger(id) && id >= 0 && id <= 0x7fffffff);

function textPrompt(body: JsonObject, given: Json | undefined): PromptOf {
  const special = body['add_special_tokens'] ?? true;
  if (typeof special !== 'boolean') return unknown('malformed');
  if (isSet(body['prompt_embeds'])) return unknown('multimodal');
  if (typeof given === 'string')
    return given === '' ? unknown('malformed') : { text: given, addSpecialTokens: special };
  if (isIds(given)) return { tokens: given };
  if (!Array.isArray(given) || given.length === 0) return unknown('malformed');
  if (given.length > 1) return unknown('several-prompts');
  const [one] = given as readonly Json[];
  return typeof one === 'string' || isIds(one) ? textPrompt(body, one) : unknown('malformed');
}

/** The prompt of a request, as vLLM makes it of the body. */
export function promptOf(path: string, bodyText: string, templates: Templates): PromptOf {
  let parsed: ParsedJson;
  try {
    parsed = parseExactly(bodyText);
  } catch {
    return unknown('malformed');
  }
  const { value: body } = parsed;
  if (!isObject(body)) return unknown('malformed');
  if (isSet(body['truncate_prompt_tokens'])) return unknown('truncated');
  switch (path) {
    case '/v1/chat/completions':
      return chatPrompt(body, parsed, templates);
    case '/v1/completions':
      return textPrompt(body, body['prompt']);
    case '/v1/embeddings':
      return body['messages'] === undefined ? textPrompt(body, body['input']) : unknown('endpoint');
    default:
      return unknown('endpoint');
  }
}
