import type { ServerResponse } from 'node:http';
import type { FailedLine } from '#libs/domain/diag';
import { CodedError, errorCode, errorText } from '#libs/kernel';
import type { FastifyReply } from 'fastify';

/** Lines of an answer as they come, one JSON value each. Waits for a slow reader, ends with one that leaves. */
export interface Lines {
  /** Aborted when the reader left or the app stops. */
  readonly signal: AbortSignal;
  /** Sends the head, where lines may be long in coming. */
  open(): void;
  /** Resolves when there is room for the next one; false when nobody reads any more. */
  write(value: unknown): Promise<boolean>;
  /** As `write`, of a line that is JSON already. */
  text(line: string): Promise<boolean>;
}

const keepAliveMs = 30_000;

class ReplyLines implements Lines {
  readonly #reply: FastifyReply;
  readonly #raw: ServerResponse;
  readonly #left = new AbortController();
  readonly signal: AbortSignal;

  constructor(reply: FastifyReply, stopping: AbortSignal) {
    this.#reply = reply;
    this.#raw = reply.raw;
    this.signal = AbortSignal.any([this.#left.signal, stopping]);
    this.#raw.on('close', () => this.#left.abort());
    // A reader whose machine vanished is noticed too.
    this.#raw.socket?.setKeepAlive(true, keepAliveMs);
  }

  get opened(): boolean {
    return this.#raw.headersSent;
  }

  open(): void {
    if (this.opened) return;
    this.#reply.hijack();
    this.#raw.writeHead(200, {
      'content-type': 'application/x-ndjson; charset=utf-8',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      // Long-lived as it is, its connection must not be left behind idle when the app stops.
      connection: 'close',
    });
    this.#raw.flushHeaders();
  }

  write(value: unknown): Promise<boolean> {
    return this.text(JSON.stringify(value));
  }

  async text(line: string): Promise<boolean> {
    if (this.signal.aborted) return false;
    this.open();
    if (this.#raw.write(`${line}\n`)) return true;
    const room = Promise.withResolvers<void>();
    const go = (): void => room.resolve();
    this.#raw.once('drain', go);
    this.signal.addEventListener('abort', go, { once: true });
    await room.promise;
    this.#raw.off('drain', go);
    this.signal.removeEventListener('abort', go);
    return !this.signal.aborted;
  }

  end(): void {
    if (this.opened) this.#raw.end();
  }
}

/**
 * Answers with the lines that `produce` writes. What it throws before the first line is a problem like any other; after it, the
 * last line says that the answer is not whole.
 */
export async function answerLines(
  reply: FastifyReply,
  stopping: AbortSignal,
  produce: (lines: Lines) => Promise<void>,
): Promise<void> {
  const lines = new ReplyLines(reply, stopping);
  try {
    await produce(lines);
    lines.open();
  } catch (thrown) {
    if (!lines.opened) throw thrown;
    const line: FailedLine = {
      kind: 'failed',
      code: errorCode(thrown),
      text: errorText(thrown),
      advice: (thrown instanceof CodedError ? thrown.advice : undefined) ?? '',
    };
    await lines.write(line);
  }
  lines.end();
}
