import { isUtf8 } from 'node:buffer';
import { JsonCursor } from './json-cursor.ts';

export interface ScanLimits {
  readonly bodyDepthMax: number;
  readonly modelBytesMax: number;
}

/** Why a body is refused, in words for the client. */
export interface BodyProblem {
  readonly code: string;
  readonly message: string;
  readonly param: string | null;
}

/** A span of the body's bytes, empty where the field is absent. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** What the gateway reads of a body. Valid until the next scan. */
export interface ScannedBody {
  readonly model: string;
  /** Its bytes with the quotes; empty where the body names none. */
  readonly modelStart: number;
  readonly modelEnd: number;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  /** Where its value stands; `known`: it says nothing but `include_usage`. Undefined where it is absent. */
  readonly streamOptions: (Span & { readonly known: boolean }) | undefined;
  /** Of the body's opening brace. */
  readonly objectStart: number;
  /** 0 is not said. */
  readonly maxTokens: number;
  readonly user: string;
  readonly cacheSalt: string;
  /** Where its value stands; undefined where it is absent. */
  readonly cacheSaltAt: Span | undefined;
  /** '' where a response continues none. */
  readonly previousResponseId: string;
  /** The raw values of the prompt's fields, from the start of the first to the end of the last. */
  readonly promptStart: number;
  readonly promptEnd: number;
  /** Of these values alone. */
  readonly promptBytes: number;
}

const problem = (code: string, message: string, param: string | null = null): BodyProblem => ({ code, message, param });
const typed = (name: string, wanted: string): BodyProblem =>
  problem('invalid_type', `"${name}" must be ${wanted}. Correct the request and send it again.`, name);

/** Bits of the fields seen, to refuse a second one of the same name: engines may read the last where we read the first. */
const bits: Readonly<Record<string, number>> = {
  model: 1,
  stream: 2,
  max_tokens: 4,
  max_completion_tokens: 8,
  stream_options: 16,
  messages: 32,
  prompt: 64,
  input: 128,
  user: 256,
  cache_salt: 512,
  max_output_tokens: 1 << 10,
  previous_response_id: 1 << 11,
  system: 1 << 12,
  instructions: 1 << 13,
  query: 1 << 14,
  queries: 1 << 15,
  documents: 1 << 16,
  text_1: 1 << 17,
  text_2: 1 << 18,
};
export const fieldMask = (...names: readonly string[]): number =>
  names.reduce((mask, name) => mask | (bits[name] as number), 0);
const promptFields =
  fieldMask('messages', 'prompt', 'input', 'system', 'instructions') |
  fieldMask('query', 'queries', 'documents', 'text_1', 'text_2');
const chatPrompts = fieldMask('messages', 'prompt', 'input');
const maxTokensFields: Readonly<Record<string, number>> = {
  max_completion_tokens: 3,
  max_output_tokens: 2,
  max_tokens: 1,
};
interface Field {
  readonly name: string;
  readonly bytes: Buffer;
  readonly bit: number;
}
/** By length: what a key is compared with, byte by byte, so that nothing is made of those that say nothing to us. */
const fields: Field[][] = Array.from({ length: 32 }, () => []);
for (const [name, bit] of Object.entries(bits)) fields[name.length]?.push({ name, bytes: Buffer.from(name), bit });
const keyBytesMax = 31 * 6;
const responseIdBytesMax = 258;

/**
 * Reads the few fields that routing needs in one pass over the bytes, and holds the whole body to RFC 8259, so that no engine reads
 * it otherwise. One scanner for all requests: a scan is synchronous and its fields are overwritten by the next.
 */
export class BodyScanner implements ScannedBody {
  model = '';
  modelStart = 0;
  modelEnd = 0;
  stream = false;
  includeUsage = false;
  streamOptions: (Span & { readonly known: boolean }) | undefined;
  objectStart = 0;
  maxTokens = 0;
  user = '';
  cacheSalt = '';
  cacheSaltAt: Span | undefined;
  promptStart = 0;
  promptEnd = 0;
  promptBytes = 0;
  previousResponseId = '';
  #seen = 0;
  /** Which of the fields that bound the answer was read, by rank. */
  #maxTokensRank = 0;
  #unread = 0;
  readonly #cursor: JsonCursor;
  readonly #modelBytesMax: number;

  constructor(limits: ScanLimits) {
    this.#cursor = new JsonCursor(limits.bodyDepthMax);
    this.#modelBytesMax = limits.modelBytesMax;
  }

  /** Undefined where the body is sound; its fields are then set. Never throws. `prompts`: the fields that are the prompt. */
  scan(body: Buffer, prompts = chatPrompts, modelOptional = false): BodyProblem | undefined {
    this.model = this.user = this.cacheSalt = this.previousResponseId = '';
    this.stream = this.includeUsage = false;
    this.streamOptions = this.cacheSaltAt = undefined;
    this.maxTokens = this.#maxTokensRank = this.#seen = 0;
    this.modelStart = this.modelEnd = 0;
    this.promptStart = this.promptEnd = this.promptBytes = 0;
    this.#unread = promptFields & ~prompts;
    if (!isUtf8(body)) return problem('invalid_utf8', 'The body is not valid UTF-8. Send JSON encoded as UTF-8.');
    const cursor = this.#cursor;
    cursor.open(body);
    const found = this.#object(body, cursor);
    cursor.close();
    if (found !== undefined) return found;
    if ((this.#seen & 1) === 0 && !modelOptional) {
      return problem('missing_model', 'The body names no "model". Name one of GET /v1/models.', 'model');
    }
    return undefined;
  }

  #object(body: Buffer, cursor: JsonCursor): BodyProblem | undefined {
    cursor.space();
    if (body[cursor.at] !== 0x7b) {
      // A value of another kind is looked through to tell broken JSON from JSON of the wrong kind.
      return cursor.whole() ? problem('invalid_type', 'The body must be a JSON object.') : broken(cursor);
    }
    this.objectStart = cursor.at++;
    cursor.space();
    if (body[cursor.at] === 0x7d) cursor.at++;
    else {
      for (;;) {
        const start = cursor.at;
        if (!cursor.string()) return broken(cursor);
        const field = fieldOf(body, start, cursor);
        cursor.space();
        if (body[cursor.at] !== 0x3a) return broken(cursor);
        cursor.at++;
        cursor.space();
        const read = field !== undefined && (field.bit & this.#unread) === 0;
        const found = read ? this.#field(body, cursor, field) : cursor.value(1) ? undefined : broken(cursor);
        if (found !== undefined) return found;
        cursor.space();
        const next = body[cursor.at];
        if (next !== 0x2c && next !== 0x7d) return broken(cursor);
        cursor.at++;
        if (next === 0x7d) break;
        cursor.space();
      }
    }
    cursor.space();
    return cursor.at === body.length ? undefined : broken(cursor);
  }

  #field(body: Buffer, cursor: JsonCursor, { name, bit }: Field): BodyProblem | undefined {
    if ((this.#seen & bit) !== 0) {
      return problem('duplicate_field', `"${name}" stands twice in the body. Name it once.`, name);
    }
    this.#seen |= bit;
    const start = cursor.at;
    const first = body[start];
    if (name === 'stream_options' && first === 0x7b) return this.#streamOptions(body, cursor);
    if (!cursor.value(1)) return broken(cursor);
    const end = cursor.at;
    switch (name) {
      case 'model': {
        if (first !== 0x22) return typed(name, 'a string');
        if (end - start - 2 > this.#modelBytesMax) {
          return problem('invalid_model', `"model" is longer than ${this.#modelBytesMax} bytes.`, name);
        }
        this.model = cursor.name(start, end);
        this.modelStart = start;
        this.modelEnd = end;
        if (this.model === '') return problem('missing_model', '"model" is empty. Name one of GET /v1/models.', name);
        return undefined;
      }
      case 'stream':
        if (first !== 0x74 && first !== 0x66 && first !== 0x6e) return typed(name, 'true or false');
        this.stream = first === 0x74;
        return undefined;
      case 'max_tokens':
      case 'max_output_tokens':
      case 'max_completion_tokens': {
        if (first === 0x6e) return undefined;
        const tokens = integerAt(body, start, end);
        if (!Number.isInteger(tokens)) return typed(name, 'an integer');
        const rank = maxTokensFields[name] as number;
        if (rank > this.#maxTokensRank) {
          this.#maxTokensRank = rank;
          this.maxTokens = tokens < 0 ? 0 : Math.min(tokens, 0xffffffff);
        }
        return undefined;
      }
      case 'stream_options':
        this.streamOptions = { start, end, known: true };
        return first === 0x6e ? undefined : typed(name, 'an object');
      case 'user':
        if (first === 0x22) this.user = cursor.name(start, end);
        return undefined;
      case 'cache_salt':
        this.cacheSaltAt = { start, end };
        if (first === 0x22) this.cacheSalt = cursor.text(start, end);
        return undefined;
      case 'previous_response_id':
        if (first === 0x22 && end - start <= responseIdBytesMax) this.previousResponseId = cursor.text(start, end);
        return undefined;
      default:
        if (this.promptBytes === 0) this.promptStart = start;
        this.promptEnd = end;
        this.promptBytes += end - start;
        return undefined;
    }
  }

  #streamOptions(body: Buffer, cursor: JsonCursor): BodyProblem | undefined {
    let seen = false;
    let known = true;
    const optionsStart = cursor.at++;
    cursor.space();
    if (body[cursor.at] === 0x7d) {
      this.streamOptions = { start: optionsStart, end: ++cursor.at, known };
      return undefined;
    }
    for (;;) {
      const start = cursor.at;
      if (!cursor.string()) return broken(cursor);
      const wanted = cursor.at - start <= keyBytesMax && cursor.text(start, cursor.at) === 'include_usage';
      cursor.space();
      if (body[cursor.at] !== 0x3a) return broken(cursor);
      cursor.at++;
      cursor.space();
      const first = body[cursor.at];
      if (!cursor.value(2)) return broken(cursor);
      known &&= wanted;
      if (wanted) {
        if (seen) {
          return problem('duplicate_field', '"include_usage" stands twice in "stream_options".', 'stream_options');
        }
        seen = true;
        if (first !== 0x74 && first !== 0x66 && first !== 0x6e) {
          return typed('stream_options.include_usage', 'true or false');
        }
        this.includeUsage = first === 0x74;
      }
      cursor.space();
      const next = body[cursor.at];
      if (next !== 0x2c && next !== 0x7d) return broken(cursor);
      cursor.at++;
      if (next === 0x7d) {
        this.streamOptions = { start: optionsStart, end: cursor.at, known };
        return undefined;
      }
      cursor.space();
    }
  }
}

/** A JSON value as a number; NaN of what is none. */
function integerAt(body: Buffer, start: number, end: number): number {
  let value = 0;
  for (let at = start; at < end && at < start + plainDigitsMax; at++) {
    const digit = (body[at] as number) - 0x30;
    if (digit < 0 || digit > 9) break;
    value = value * 10 + digit;
    if (at + 1 === end) return value;
  }
  const first = body[start];
  return first === 0x2d || isDigitByte(first) ? Number(body.toString('latin1', start, end)) : Number.NaN;
}

const plainDigitsMax = 9;
const isDigitByte = (byte: number | undefined): boolean => byte !== undefined && byte >= 0x30 && byte <= 0x39;

/** The field, if the key is of one that we read. Escaped spellings are the same key. */
function fieldOf(body: Buffer, start: number, cursor: JsonCursor): Field | undefined {
  const length = cursor.at - start - 2;
  if (cursor.escaped) {
    if (length > keyBytesMax) return undefined;
    const name = cursor.text(start, cursor.at);
    return fields[name.length]?.find((field) => field.name === name);
  }
  const group = fields[length];
  if (group === undefined) return undefined;
  for (let index = 0; index < group.length; index++) {
    const field = group[index] as Field;
    const { bytes } = field;
    let at = 0;
    while (at < length && bytes[at] === body[start + 1 + at]) at++;
    if (at === length) return field;
  }
  return undefined;
}

function broken(cursor: JsonCursor): BodyProblem {
  if (cursor.tooDeep) {
    return problem('body_too_deep', `The body is nested deeper than ${cursor.depthMax} levels. Flatten it.`);
  }
  const end = cursor.at >= cursor.length;
  return problem(
    'invalid_json',
    end
      ? 'The body is not valid JSON: it ends too early. Send the whole document.'
      : `The body is not valid JSON at byte ${cursor.at}. Correct it and send it again.`,
  );
}
