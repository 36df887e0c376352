import { hash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { fingerprintOf } from './idempotency.ts';
import type { Idempotency, KeptAnswer, Turn, Waiter } from './idempotency.ts';
import { single } from './headers.ts';

/** One request's part in being done once: what it holds of its key, and the copy of its answer. */
export class Once {
  /** This request is the one that the others wait for. */
  #first = false;
  #waiting = false;
  #status = 0;
  #headers: readonly string[] = [];
  #chunks: Buffer[] | undefined;
  #bytes = 0;
  readonly #key: string;
  readonly #fingerprint: string;

  constructor(
    private readonly all: Idempotency,
    private readonly bytesMax: number,
    about: { readonly key: string; readonly tenantId: string; readonly headers: IncomingHttpHeaders },
    target: string,
    body: Buffer,
  ) {
    // Where nobody checks keys here, the engine does: an answer is only for who showed it the same one.
    const who = `${about.headers.authorization ?? ''}\n${single(about.headers['x-api-key']) ?? ''}`;
    this.#key = `${about.tenantId}\n${about.tenantId === '' ? hash('sha256', who, 'base64') : ''}\n${about.key}`;
    this.#fingerprint = fingerprintOf(target, body);
  }

  begin(waiter: Waiter, nowMs: number): Turn {
    const turn = this.all.begin(this.#key, this.#fingerprint, waiter, nowMs);
    this.#first = turn === 'first';
    this.#waiting = turn === 'waits';
    return turn;
  }

  promoted(): void {
    this.#waiting = false;
    this.#first = true;
  }

  /** The answer begins: its headers before ours are put to them. */
  head(status: number, headers: readonly string[]): void {
    this.#status = status;
    this.#headers = [...headers];
    this.#chunks = [];
  }

  /** Copies: the chunk's memory may be reused. Nothing of an answer that is too long to keep. */
  feed(chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#bytes > this.bytesMax) this.#chunks = undefined;
    else this.#chunks?.push(Buffer.from(chunk));
  }

  /** The answer is whole. */
  whole(nowMs: number): void {
    const chunks = this.#chunks;
    const answer: KeptAnswer | undefined =
      chunks === undefined ? undefined : { status: this.#status, headers: this.#headers, body: Buffer.concat(chunks) };
    this.#end(answer, nowMs);
  }

  /** The request is over, whatever it came to. */
  over(waiter: Waiter, nowMs: number): void {
    if (this.#waiting) this.all.leave(this.#key, waiter);
    this.#end(undefined, nowMs);
  }

  #end(answer: KeptAnswer | undefined, nowMs: number): void {
    if (!this.#first) return;
    this.#first = false;
    this.all.end(this.#key, answer, nowMs);
  }
}
