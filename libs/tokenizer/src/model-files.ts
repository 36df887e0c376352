import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError, errorText } from '#libs/kernel';
import { ChatTemplate } from './chat-template.ts';
import type { ContentFormat } from './conversation.ts';
import { isObject } from './conversation.ts';
import { tokenizerLimits } from './limits.ts';
import type { TokenizerJson } from './text-encoder.ts';

/** What a model's folder says of its tokens. */
export interface ModelFiles {
  readonly tokenizer: TokenizerJson;
  readonly config: object;
  /** Undefined where the model has none: chat requests are then not known. */
  readonly template: ChatTemplate | undefined;
  /** Where the model has another for requests with tools. */
  readonly toolTemplate: ChatTemplate | undefined;
}

const names = [
  'tokenizer.json',
  'tokenizer_config.json',
  'chat_template.jinja',
  'chat_template.json',
  'config.json',
] as const;

const advice = 'Name the folder of the model that the engine serves, with its tokenizer.json.';

async function text(folder: string, name: (typeof names)[number], needed: boolean): Promise<string | undefined> {
  const file = join(folder, name);
  try {
    const { size } = await stat(file);
    if (size > tokenizerLimits.fileBytesMax) {
      throw new CodedError('TOKENIZER_TOO_LARGE', `${file} has more than ${tokenizerLimits.fileBytesMax} bytes`, {
        advice,
      });
    }
    return await readFile(file, 'utf8');
  } catch (cause) {
    if (cause instanceof CodedError) throw cause;
    if (!needed && (cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new CodedError('TOKENIZER_UNREADABLE', `${file} cannot be read: ${errorText(cause)}`, { advice, cause });
  }
}

function json(folder: string, name: string, content: string | undefined): Record<string, unknown> {
  if (content === undefined) return {};
  try {
    const value: unknown = JSON.parse(content);
    if (isObject(value)) return value as Record<string, unknown>;
  } catch (cause) {
    throw new CodedError('TOKENIZER_UNREADABLE', `${join(folder, name)} is not JSON: ${errorText(cause)}`, {
      advice,
      cause,
    });
  }
  throw new CodedError('TOKENIZER_UNREADABLE', `${join(folder, name)} is not a JSON object`, { advice });
}

const specialNames = [
  'bos_token',
  'eos_token',
  'unk_token',
  'sep_token',
  'pad_token',
  'cls_token',
  'mask_token',
] as const;

function specialTokens(config: Record<string, unknown>): Record<string, string> {
  const tokens: Record<string, string> = {};
  for (const name of specialNames) {
    const given = config[name];
    const content = isObject(given) ? given['content'] : given;
    if (typeof content === 'string') tokens[name] = content;
  }
  return tokens;
}

/** Templates by name; "default" and, in some models, "tool_use". */
function templates(config: Record<string, unknown>, own: string | undefined, legacy: unknown): Map<string, string> {
  const found = new Map<string, string>();
  const given = own ?? config['chat_template'] ?? legacy;
  if (typeof given === 'string') found.set('default', given);
  else if (Array.isArray(given)) {
    for (const each of given as readonly unknown[]) {
      if (isObject(each) && typeof each['name'] === 'string' && typeof each['template'] === 'string')
        found.set(each['name'], each['template']);
    }
  }
  return found;
}

/** Models whose messages engines do not put through the template. */
const ownEncodings: readonly unknown[] = ['gpt_oss', 'deepseek_v32', 'deepseek_v4', 'kimi_k3'];

/** @throws TOKENIZER_UNREADABLE · TOKENIZER_TOO_LARGE · CHAT_TEMPLATE_INVALID */
export async function readModelFiles(folder: string, format?: ContentFormat): Promise<ModelFiles> {
  const [tokenizer, config, own, legacy, model] = await Promise.all(
    names.map(async (name, index) => await text(folder, name, index === 0)),
  );
  const configuration = json(folder, 'tokenizer_config.json', config);
  const found = templates(configuration, own, json(folder, 'chat_template.json', legacy)['chat_template']);
  const special = specialTokens(configuration);
  const encodesItself = ownEncodings.includes(json(folder, 'config.json', model)['model_type']);
  const make = (source: string | undefined): ChatTemplate | undefined =>
    source === undefined || encodesItself ? undefined : new ChatTemplate(source, special, format);
  return {
    tokenizer: json(folder, 'tokenizer.json', tokenizer) as TokenizerJson,
    config: configuration,
    template: make(found.get('default')),
    toolTemplate: make(found.get('tool_use')),
  };
}

/** Changes when one of the files does. */
export async function filesSignature(folder: string): Promise<string> {
  const parts = await Promise.all(
    names.map(async (name) => {
      try {
        const { size, mtimeMs, ino } = await stat(join(folder, name));
        return `${size}:${mtimeMs}:${ino}`;
      } catch {
        return '-';
      }
    }),
  );
  return parts.join(' ');
}
