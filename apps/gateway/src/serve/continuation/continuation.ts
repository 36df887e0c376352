import type { ContinuableRequest } from './continuable.ts';
import { continuedBody } from './continuable.ts';
import { continuationLimits as limits } from './limits.ts';
import { dataOf, EventSplitter } from './event-splitter.ts';

type Json = Record<string, unknown>;

/** What another replica is sent so that it goes on. */
export interface Resumed {
  readonly body: Buffer;
  /** Tokens that the client has already. */
  readonly tokens: number;
}

/** A comment to every reader of events: what follows is from another replica. */
export const continuedEvent: Buffer = Buffer.from(': lintel-continued\n\n');
const nothing: Buffer = Buffer.alloc(0);
const event = (data: string): Buffer => Buffer.from(`data: ${data}\n\n`);
const doneEvent = event('[DONE]');
const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null;
const countOf = (value: unknown): number => (typeof value === 'number' && value > 0 ? value : 0);

/**
 * One stream to a client out of the streams of several replicas, each of which goes on where the one before it broke. Only whole events
 * pass, so that what the client has is known to the character. Pure over its calls.
 */
export class Continuation {
  /** The engine told of its own failure inside the stream; what came after it is kept from the client. */
  failed = false;
  /** The reason of the end has been told: nothing of the text is missing. */
  finished = false;
  /** `[DONE]` has come. */
  done = false;
  /** What the replica at hand was sent; undefined as long as the first one answers. */
  resumed: Resumed | undefined;
  readonly request: ContinuableRequest;
  readonly #splitter = new EventSplitter(limits.eventBytesMax);
  /** Something passed that cannot be taken up again, or was too long: from then on all passes as it comes. */
  #lost = false;
  #text: string[] = [];
  #textLength = 0;
  #tokens = 0;
  /** Tokens at the end of the text that are white space alone, and their text. */
  #blankTokens = 0;
  /** What every event says of the answer. */
  #id: unknown;
  #created: unknown;
  #model: unknown;
  #roleTold = false;
  /** Tokens that were given to the replica at hand, which it counts as its prompt. */
  #given = 0;
  /** White space that the client has and the replica at hand may say again. */
  #overlap = '';

  constructor(request: ContinuableRequest) {
    this.request = request;
  }

  get tokens(): number {
    return this.#tokens;
  }

  /** What of the chunk goes to the client. */
  feed(chunk: Buffer): Buffer {
    if (this.#lost) return chunk;
    const out: Buffer[] = [];
    for (const one of this.#splitter.feed(chunk)) {
      if (this.failed) break;
      const passed = this.#lost ? one : this.#event(one);
      if (passed.length > 0) out.push(passed);
    }
    if (this.#splitter.overflown) this.#lost = true;
    if (this.#lost) out.push(this.#splitter.rest());
    return out.length === 1 ? (out[0] as Buffer) : Buffer.concat(out);
  }

  /** More of the answer is to come, and another replica can give it. */
  get open(): boolean {
    return !(this.#lost || this.finished || this.done || this.#spent);
  }

  /** It broke where it stands, `open`: another replica is to go on. `tellUsage`: of its usage, too. */
  resume(tellUsage: boolean): Resumed {
    this.#splitter.clear();
    const whole = this.#text.join('');
    // A chat template may strip what ends its last message: the model is to say white space again, and the client has it once.
    const text = this.request.chat ? whole.trimEnd() : whole;
    this.#overlap = whole.slice(text.length);
    this.#given = this.#tokens - (this.#overlap === '' ? 0 : this.#blankTokens);
    this.failed = false;
    this.resumed = { body: continuedBody(this.request, text, this.#given, tellUsage), tokens: this.#given };
    return this.resumed;
  }

  /** Nothing is missing but the stream's own end: its bytes. Undefined where the client waits for more. */
  ending(): Buffer | undefined {
    if (this.#lost || this.done || this.request.wantsUsage) return undefined;
    if (this.finished) return doneEvent;
    if (!this.#spent || this.#id === undefined) return undefined;
    const choice = this.request.chat ? { index: 0, delta: {} } : { index: 0, text: '' };
    const object = this.request.chat ? 'chat.completion.chunk' : 'text_completion';
    const head = { id: this.#id, object, created: this.#created, model: this.#model };
    const last = event(JSON.stringify({ ...head, choices: [{ ...choice, finish_reason: 'length' }] }));
    return Buffer.concat([last, doneEvent]);
  }

  /** As many tokens as were asked for have come. */
  get #spent(): boolean {
    const { maxTokens } = this.request;
    return maxTokens !== undefined && this.#tokens >= maxTokens;
  }

  #event(bytes: Buffer): Buffer {
    const data = dataOf(bytes);
    if (data === '') return bytes;
    if (data === '[DONE]') {
      this.done = true;
      return bytes;
    }
    let chunk: unknown;
    try {
      chunk = JSON.parse(data);
    } catch {
      return this.#lose(bytes);
    }
    if (!isObject(chunk)) return this.#lose(bytes);
    if (isObject(chunk['error'])) return this.#error(chunk['error'], bytes);
    const { choices } = chunk;
    if (!Array.isArray(choices) || choices.length > 1) return this.#lose(bytes);
    const choice: unknown = choices[0];
    if (choice !== undefined && (!isObject(choice) || countOf(choice['index']) > 0)) return this.#lose(bytes);
    this.#id ??= chunk['id'];
    this.#created ??= chunk['created'];
    this.#model ??= chunk['model'];
    if (this.resumed !== undefined) return this.#rewritten(chunk, choice);
    if (choice !== undefined) this.#take(choice, textOf(choice));
    return bytes;
  }

  /** An event of a replica that goes on, as an event of the stream that it goes on with. */
  #rewritten(chunk: Json, choice: Json | undefined): Buffer {
    chunk['id'] = this.#id;
    chunk['created'] = this.#created;
    if (isObject(chunk['usage'])) this.#addUsage(chunk['usage']);
    if (choice !== undefined) {
      const said = textOf(choice);
      const text = this.#withoutOverlap(said);
      if (text !== said) setText(choice, text);
      const role = isObject(choice['delta']) ? choice['delta']['role'] : undefined;
      if (role !== undefined && this.#roleTold) delete (choice['delta'] as Json)['role'];
      const says = text !== '' || (choice['finish_reason'] ?? null) !== null || carriesMore(choice);
      const tells = isObject(chunk['usage']) || (role !== undefined && !this.#roleTold);
      this.#take(choice, text);
      if (!says && !tells) return nothing;
    }
    return event(JSON.stringify(chunk));
  }

  #take(choice: Json, text: string): void {
    if (isObject(choice['delta']) && choice['delta']['role'] !== undefined) this.#roleTold = true;
    if ((choice['finish_reason'] ?? null) !== null) this.finished = true;
    if (carriesMore(choice)) {
      this.#lost = true;
      return;
    }
    if (text === '') return;
    this.#tokens++;
    this.#blankTokens = text.trim() === '' ? this.#blankTokens + 1 : 0;
    this.#text.push(text);
    this.#textLength += text.length;
    if (this.#textLength > limits.textLengthMax) {
      this.#lost = true;
      this.#text = [];
    }
  }

  #withoutOverlap(text: string): string {
    if (this.#overlap === '' || text === '') return text;
    let same = 0;
    while (same < text.length && same < this.#overlap.length && text[same] === this.#overlap[same]) same++;
    this.#overlap = same === text.length ? this.#overlap.slice(same) : '';
    return text.slice(same);
  }

  /** The replica's prompt had what the client had already; to the client that is part of the answer. */
  #addUsage(usage: Json): void {
    const prompt = Math.max(0, countOf(usage['prompt_tokens']) - this.#given);
    const completion = countOf(usage['completion_tokens']) + this.#given;
    usage['prompt_tokens'] = prompt;
    usage['completion_tokens'] = completion;
    usage['total_tokens'] = prompt + completion;
  }

  /** A server's own failure is one of the replica; what the request did wrong would be wrong elsewhere, too. */
  #error({ code }: Json, bytes: Buffer): Buffer {
    if (typeof code === 'number' && code < 500) return this.#lose(bytes);
    this.failed = true;
    return nothing;
  }

  #lose(bytes: Buffer): Buffer {
    this.#lost = true;
    return bytes;
  }
}

function textOf(choice: Json): string {
  const said = isObject(choice['delta']) ? choice['delta']['content'] : choice['text'];
  return typeof said === 'string' ? said : '';
}

function setText(choice: Json, text: string): void {
  if (isObject(choice['delta'])) choice['delta']['content'] = text;
  else choice['text'] = text;
}

const plainDelta = new Set(['role', 'content']);

/** Something besides text that no other replica can take up: calls of tools, thoughts, refusals, log probabilities. */
function carriesMore(choice: Json): boolean {
  if ((choice['logprobs'] ?? null) !== null) return true;
  if (!isObject(choice['delta'])) return false;
  return Object.entries(choice['delta']).some(
    ([name, value]) =>
      !plainDelta.has(name) && value !== null && value !== '' && !(Array.isArray(value) && value.length === 0),
  );
}
