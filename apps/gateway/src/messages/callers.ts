import { retryableEnd } from '../serve/attempt.ts';
import { anthropicErrorBody } from '../serve/errors.ts';
import { rawHeader } from '../serve/headers.ts';
import type { Caller, Failure } from '../serve/upstream/connection.ts';
import { countOf, errorMessageOf, messageOf } from './from-chat.ts';
import type { Json } from './json.ts';
import { MessagesStream } from './messages-stream.ts';

/** An engine's answer that came whole, of which a message is made. */
export const answerBytesMax = 32 * 1024 * 1024;

/** Passes on what an engine answers; asks it again where it turns out to lack the endpoint. */
export class NativeCaller implements Caller {
  #lacks = false;

  constructor(
    private readonly owner: Caller,
    private readonly learnt: () => void,
    /** The 404 is read to its end. */
    private readonly again: () => void,
  ) {}

  onConnected(): void {
    this.owner.onConnected();
  }

  onHead(status: number, reason: string, headers: readonly string[]): void {
    // A model that is unknown is 404, too: the other path then says so as well.
    this.#lacks = status === 404 || status === 405 || status === 501;
    if (this.#lacks) return;
    if (status < 400) this.learnt();
    this.owner.onHead(status, reason, headers);
  }

  onBody(chunk: Buffer): void {
    if (!this.#lacks) this.owner.onBody(chunk);
  }

  onEnd(): void {
    if (this.#lacks) this.again();
    else this.owner.onEnd();
  }

  onFailure(failure: Failure, message: string): void {
    this.owner.onFailure(failure, message);
  }

  onWritable(): void {
    this.owner.onWritable();
  }

  onFault(thrown: unknown): void {
    this.owner.onFault(thrown);
  }
}

/** Tells its owner an engine's answer of chat completions, or of /tokenize, as if it had been asked in Anthropic's protocol. */
export class TranslatingCaller implements Caller {
  #status = 0;
  #reason = '';
  #headers: string[] = [];
  #chunks: Buffer[] = [];
  #bytes = 0;
  #stream: MessagesStream | undefined;
  /** The owner knows the end. */
  #over = false;

  constructor(
    private readonly owner: Caller,
    private readonly about: {
      readonly counts: boolean;
      readonly thinks: boolean;
      readonly requestId: string;
      /** Of the answer's head. */
      readonly answered: (status: number) => void;
      readonly destroy: () => void;
    },
  ) {}

  onConnected(): void {
    this.owner.onConnected();
  }

  onHead(status: number, reason: string, headers: readonly string[]): void {
    this.#status = status;
    this.#reason = reason;
    this.about.answered(status);
    if (retryableEnd(status) !== undefined) {
      this.#over = true;
      this.owner.onHead(status, reason, headers);
      return;
    }
    const stream = status < 400 && /^text\/event-stream\b/i.test(rawHeader(headers, 'content-type') ?? '');
    for (let index = 0; index + 1 < headers.length; index += 2) {
      const name = headers[index] as string;
      const lower = name.toLowerCase();
      if (lower === 'content-length' || (!stream && lower === 'content-type')) continue;
      this.#headers.push(name, headers[index + 1] as string);
    }
    if (!stream) return;
    const { requestId } = this.about;
    const error = (message: string): string => `event: error\ndata: ${anthropicErrorBody(500, message, requestId)}\n\n`;
    this.#stream = new MessagesStream(this.about.thinks, error);
    this.owner.onHead(status, reason, this.#headers);
  }

  onBody(chunk: Buffer): void {
    if (this.#over) return;
    if (this.#stream !== undefined) {
      const out = this.#stream.feed(chunk);
      if (out.length > 0) this.owner.onBody(out);
      return;
    }
    this.#bytes += chunk.length;
    if (this.#bytes > answerBytesMax) {
      this.about.destroy();
      this.#fail(`its answer is longer than ${answerBytesMax} bytes`);
      return;
    }
    // A copy, since the chunk's memory is read into again.
    this.#chunks.push(Buffer.from(chunk));
  }

  onEnd(): void {
    if (this.#over) return;
    if (this.#stream !== undefined) {
      const out = this.#stream.rest();
      if (out.length > 0) this.owner.onBody(out);
      if (this.#stream.ended) this.owner.onEnd();
      else this.onFailure('reset', 'its stream ended early');
      return;
    }
    const body = this.#whole();
    if (body === undefined) {
      this.#fail('its answer is none of chat completions');
      return;
    }
    const headers = [...this.#headers, 'content-type', 'application/json', 'content-length', String(body.length)];
    this.#over = true;
    this.owner.onHead(this.#status, this.#reason, headers);
    this.owner.onBody(body);
    this.owner.onEnd();
  }

  #whole(): Buffer | undefined {
    const text = Buffer.concat(this.#chunks).toString('utf8');
    const json = parsed(text);
    if (this.#status >= 400) {
      const message = errorMessageOf(json, text.slice(0, 1000) || `The engine answered ${this.#status}.`);
      return Buffer.from(anthropicErrorBody(this.#status, message, this.about.requestId));
    }
    const made: Json | undefined = this.about.counts ? countOf(json) : messageOf(json, this.about.thinks);
    return made === undefined ? undefined : Buffer.from(JSON.stringify(made));
  }

  #fail(message: string): void {
    this.onFailure('bad-answer', message);
  }

  onFailure(failure: Failure, message: string): void {
    if (this.#over) return;
    this.#over = true;
    this.owner.onFailure(failure, message);
  }

  onWritable(): void {
    this.owner.onWritable();
  }

  onFault(thrown: unknown): void {
    this.owner.onFault(thrown);
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Told as what it is by the caller.
    return undefined;
  }
}
