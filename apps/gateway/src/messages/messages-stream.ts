import { messageUsage, stopOf, thinkingIn, errorMessageOf } from './from-chat.ts';
import type { Stop } from './from-chat.ts';
import type { Json } from './json.ts';
import { isObject, textOf } from './json.ts';

/** A longer line of a stream is no chunk of chat completions. */
export const streamLineBytesMax = 1024 * 1024;

const nothing: Buffer = Buffer.alloc(0);
type Kind = 'thinking' | 'text' | 'tool_use';

/** Turns a stream of chat completion chunks into the events of a message. Its bytes may be split anywhere. */
export class MessagesStream {
  /** `message_stop`, or an error, was said. */
  ended = false;
  #held: Buffer[] = [];
  #heldBytes = 0;
  #out = '';
  #called = false;
  #begun = false;
  /** The content block under way. */
  #kind: Kind | undefined;
  /** Of tool calls: which one it is. */
  #call: unknown;
  #block = -1;
  #stop: Stop | undefined;
  #usage: unknown;
  #tokens = 0;

  /** `thinks`: the client asked for thinking. `error`: Anthropic's event for an engine's error. */
  constructor(
    private readonly thinks: boolean,
    private readonly error: (message: string) => string,
  ) {}

  feed(chunk: Buffer): Buffer {
    let from = 0;
    for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, from)) {
      const last = chunk.subarray(from, end);
      const line = this.#held.length === 0 ? last : Buffer.concat([...this.#held, last]);
      this.#held = [];
      this.#heldBytes = 0;
      this.#line(line);
      from = end + 1;
    }
    if (from < chunk.length) {
      this.#heldBytes += chunk.length - from;
      // A copy, since the chunk's memory may be reused.
      this.#held.push(Buffer.from(chunk.subarray(from)));
      if (this.#heldBytes > streamLineBytesMax) this.#fail('Its stream has a line that is too long.');
    }
    return this.#take();
  }

  /** The engine's stream is over: what is still to be said. Not `ended` afterwards means that it broke off. */
  rest(): Buffer {
    if (this.#stop !== undefined) this.#finish();
    return this.#take();
  }

  #take(): Buffer {
    const out = this.#out === '' ? nothing : Buffer.from(this.#out);
    this.#out = '';
    return out;
  }

  #say(type: string, data: Json): void {
    this.#out += `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`;
  }

  #line(bytes: Buffer): void {
    if (this.ended) return;
    const line = bytes.toString('utf8').trimEnd();
    if (!line.startsWith('data:')) return;
    const data = line.slice(5).trim();
    if (data === '[DONE]') {
      if (this.#stop !== undefined) this.#finish();
      return;
    }
    let chunk: unknown;
    try {
      chunk = JSON.parse(data);
    } catch {
      this.#fail('Its stream has a chunk that is no JSON.');
      return;
    }
    if (!isObject(chunk)) return;
    if (chunk['error'] !== undefined) this.#fail(errorMessageOf(chunk, 'The engine told an error inside the stream.'));
    else this.#chunk(chunk);
  }

  #fail(message: string): void {
    if (this.ended) return;
    this.ended = true;
    this.#out += this.error(message);
  }

  #chunk(chunk: Json): void {
    if (isObject(chunk['usage'])) this.#usage = chunk['usage'];
    const choice: unknown = Array.isArray(chunk['choices']) ? chunk['choices'][0] : undefined;
    if (!this.#begun) this.#begin(chunk);
    if (!isObject(choice)) return;
    if (isObject(choice['delta'])) this.#delta(choice['delta']);
    const reason = choice['finish_reason'];
    if (typeof reason === 'string') this.#stop = stopOf(reason, choice['stop_reason'], this.#called);
  }

  #begin(chunk: Json): void {
    this.#begun = true;
    const about = { id: textOf(chunk['id']), type: 'message', role: 'assistant', model: textOf(chunk['model']) };
    // Usage is known at the end only.
    const usage = messageUsage(undefined);
    this.#say('message_start', { message: { ...about, content: [], stop_reason: null, stop_sequence: null, usage } });
  }

  #delta(delta: Json): void {
    const thinking = this.thinks ? thinkingIn(delta) : '';
    if (thinking !== '') {
      this.#open('thinking', undefined, { type: 'thinking', thinking: '', signature: '' });
      this.#more({ type: 'thinking_delta', thinking });
    }
    const text = textOf(delta['content']) || textOf(delta['refusal']);
    if (text !== '') {
      this.#open('text', undefined, { type: 'text', text: '' });
      this.#more({ type: 'text_delta', text });
    }
    for (const call of Array.isArray(delta['tool_calls']) ? (delta['tool_calls'] as unknown[]) : []) {
      if (!isObject(call)) continue;
      this.#called = true;
      const of = isObject(call['function']) ? call['function'] : {};
      const start = { type: 'tool_use', id: call['id'], name: of['name'], input: {} };
      this.#open('tool_use', call['index'] ?? call['id'], start);
      const json = textOf(of['arguments']);
      if (json !== '') this.#more({ type: 'input_json_delta', partial_json: json });
    }
  }

  #open(kind: Kind, call: unknown, block: Json): void {
    if (this.#kind === kind && this.#call === call) return;
    this.#close();
    this.#kind = kind;
    this.#call = call;
    this.#block++;
    this.#say('content_block_start', { index: this.#block, content_block: block });
  }

  #more(delta: Json): void {
    this.#tokens++;
    this.#say('content_block_delta', { index: this.#block, delta });
  }

  #close(): void {
    if (this.#kind === undefined) return;
    this.#kind = undefined;
    this.#say('content_block_stop', { index: this.#block });
  }

  #finish(): void {
    if (this.ended) return;
    this.ended = true;
    this.#close();
    const usage = this.#usage === undefined ? { output_tokens: this.#tokens } : messageUsage(this.#usage);
    this.#say('message_delta', { delta: this.#stop as unknown as Json, usage });
    this.#say('message_stop', {});
  }
}
