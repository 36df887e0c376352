import { Template } from '@huggingface/jinja';
import { CodedError, errorText } from '#libs/kernel';
import { contentFormat } from './content-format.ts';
import type { ContentFormat, Message } from './conversation.ts';

/** The same word that transformers puts behind the text that is to go on. */
const continueTag = 'CONTINUE_FINAL_MESSAGE_TAG ';

export interface Rendering {
  readonly messages: readonly Message[];
  readonly tools: readonly unknown[] | undefined;
  readonly documents: unknown;
  readonly addGenerationPrompt: boolean;
  readonly continueFinalMessage: boolean;
  readonly more: Readonly<Record<string, unknown>>;
}

/** A model's chat template, rendered as transformers and vLLM do. */
export class ChatTemplate {
  readonly format: ContentFormat;
  readonly #template: Template;
  readonly #knowsDevelopers: boolean;

  /** @throws CHAT_TEMPLATE_INVALID */
  constructor(
    private readonly source: string,
    private readonly specialTokens: Readonly<Record<string, string>>,
    format?: ContentFormat,
  ) {
    try {
      this.#template = new Template(source);
    } catch (cause) {
      throw new CodedError('CHAT_TEMPLATE_INVALID', `the chat template cannot be read: ${errorText(cause)}`, {
        advice: 'Leave the model out of "tokenizers": its prompts are then compared by their text.',
        cause,
      });
    }
    this.format = format ?? contentFormat(this.#template.parsed);
    this.#knowsDevelopers = source.includes('"developer"') || source.includes("'developer'");
  }

  /** The prompt's text; undefined where the engine would refuse. @throws where the template does */
  render({
    messages,
    tools,
    documents,
    addGenerationPrompt,
    continueFinalMessage,
    more,
  }: Rendering): string | undefined {
    let given = messages;
    if (!this.#knowsDevelopers && given.some(({ role }) => role === 'developer')) given = developersAsSystem(given);
    const opened = continueFinalMessage ? this.#opened(given) : undefined;
    if (continueFinalMessage && opened === undefined) return undefined;
    const text = this.#template.render({
      ...this.specialTokens,
      ...more,
      messages: opened?.messages ?? given,
      tools: tools ?? null,
      documents: documents ?? null,
      add_generation_prompt: addGenerationPrompt,
    });
    if (opened === undefined) return text;
    const tag = continueTag.trim();
    const at = text.lastIndexOf(tag);
    if (at < 0 || !text.includes(opened.text.trim())) return undefined;
    const kept = text.slice(0, at);
    return text.startsWith(continueTag, at) ? kept : kept.trimEnd();
  }

  #opened(messages: readonly Message[]): { messages: readonly Message[]; text: string } | undefined {
    const last = messages.at(-1);
    const content = last?.['content'];
    if (last === undefined || !this.source.includes('content')) return undefined;
    const with_ = (changed: unknown): readonly Message[] => [...messages.slice(0, -1), { ...last, content: changed }];
    if (typeof content === 'string') return { messages: with_(content + continueTag), text: content };
    if (!Array.isArray(content)) return undefined;
    const parts = content as readonly { readonly text?: unknown }[];
    const at = parts.findLastIndex((part) => typeof part.text === 'string');
    if (at < 0) return undefined;
    const text = parts[at]?.text as string;
    return { messages: with_(parts.with(at, { ...parts[at], text: text + continueTag })), text };
  }
}

const textOf = (content: unknown): string =>
  typeof content === 'string'
    ? content
    : Array.isArray(content)
      ? content
          .map((part: unknown) => (typeof part === 'string' ? part : String((part as { text?: unknown }).text)))
          .join('\n')
      : '';

/** For templates that do not know the role: as system messages, all of them joined at the start. */
function developersAsSystem(messages: readonly Message[]): readonly Message[] {
  const converted = messages.map((message) => {
    if (message['role'] !== 'developer') return message;
    const { tools: _dropped, ...rest } = message;
    return { ...rest, role: 'system' };
  });
  const systems = converted.flatMap(({ role }, index) => (role === 'system' ? [index] : []));
  if (systems.every((index) => index === 0)) return converted;
  const content = systems
    .map((index) => textOf(converted[index]?.['content']))
    .filter((text) => text !== '')
    .join('\n\n');
  return [{ role: 'system', content }, ...converted.filter(({ role }) => role !== 'system')];
}
