import { SseScanner } from './sse-scanner.ts';
import { usageOf } from './usage.ts';

const eventColon = Buffer.from('event:');

type Json = Readonly<Record<string, unknown>>;

const inside = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? (value as Json)[name] : undefined;

/**
 * Reads streams whose events say their type: OpenAI's responses (`response.output_text.delta` … `response.completed`) and Anthropic's
 * messages (`message_start` … `message_stop`). Only the few events that carry usage or an id are parsed.
 */
export class TypedSseScanner extends SseScanner {
  /** Of a response; '' until it is told. */
  responseId = '';
  #type = '';

  protected override other(bytes: Buffer, from: number, to: number): void {
    const end = to > from && bytes[to - 1] === 0x0d ? to - 1 : to;
    if (end === from) this.#type = '';
    else if (end - from > 6 && end - from < typeBytesMax && bytes.compare(eventColon, 0, 6, from, from + 6) === 0) {
      this.#type = bytes.toString('latin1', from + 6, end).trim();
    }
  }

  protected override data(line: Buffer, nowMs: number): void {
    // An event need not be named: then its data must be looked into.
    const event = this.#type === '' ? parsed(line) : undefined;
    const named = this.#type === '' ? inside(event, 'type') : this.#type;
    const type = typeof named === 'string' ? named : '';
    if (type === 'content_block_delta' || type.endsWith('.delta')) this.token(nowMs);
    else if (type === 'error' || type === 'response.failed') this.errorTold = true;
    else if (type === 'message_stop') this.done = true;
    else if (type === 'message_start') this.#told(inside(inside(event ?? parsed(line), 'message'), 'usage'));
    else if (type === 'message_delta') this.#told(inside(event ?? parsed(line), 'usage'));
    else if (type === 'response.created' || type === 'response.completed' || type === 'response.incomplete') {
      const response = inside(event ?? parsed(line), 'response');
      const id = inside(response, 'id');
      if (typeof id === 'string') this.responseId = id;
      if (type !== 'response.created') {
        this.done = true;
        this.#told(inside(response, 'usage'));
      }
    }
  }

  /** Later words count, but what only an earlier one said stays: the last of Anthropic's may tell the output alone. */
  #told(value: unknown): void {
    const usage = usageOf(value);
    if (usage === undefined) return;
    const before = this.usage;
    this.usage =
      before === undefined || inside(value, 'input_tokens') !== undefined
        ? usage
        : { ...before, completionTokens: usage.completionTokens };
  }
}

const typeBytesMax = 128;

function parsed(line: Buffer): unknown {
  try {
    return JSON.parse(line.toString('utf8'));
  } catch {
    // The engine's own mistake: the client sees it as it is, and what it would have told stays unknown.
    return undefined;
  }
}
