import { badRequest } from './errors.ts';
import { encode, vocabularySize } from './tokenizer.ts';

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

/** Text of a message's content: a string, or parts. */
export function contentText(content: unknown): string {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return '';
  return content
    .map((part) => {
      if (!isObject(part)) return String(part);
      if (typeof part['text'] === 'string') return part['text'];
      const kind = String(part['type'] ?? 'unknown').replace(/_url$|^input_/g, '');
      throw badRequest(`At most 0 ${kind}(s) may be provided in one prompt.`);
    })
    .join('\n');
}

/** The chat template. A conversation that goes on has the earlier one as its prefix, token by token; `open` leaves its last message open. */
export function chatPrompt(messages: readonly unknown[], open = false): number[] {
  let text = '';
  for (const message of messages) {
    const { role, content } = isObject(message) ? message : {};
    text += `${String(role ?? 'user')}: ${contentText(content)}\n`;
  }
  return encode(open ? text.slice(0, -1) : `${text}assistant: `);
}

const isNumbers = (value: unknown): value is number[] => Array.isArray(value) && typeof value[0] === 'number';

export interface Prompt {
  readonly tokens: readonly number[];
  readonly text: string | undefined;
}

function tokenPrompt(tokens: readonly number[]): Prompt {
  const bad = tokens.find((token) => !(Number.isInteger(token) && token >= 0 && token < vocabularySize));
  if (bad !== undefined) throw badRequest(`Token id ${bad} is out of vocabulary`);
  return { tokens, text: undefined };
}

/** One prompt or several, each text or token ids. Empty when there is none. */
export function prompts(given: unknown): Prompt[] {
  if (typeof given === 'string') return given === '' ? [] : [{ tokens: encode(given), text: given }];
  if (isNumbers(given)) return [tokenPrompt(given)];
  if (!Array.isArray(given)) return [];
  return given.flatMap((each) => prompts(each));
}
