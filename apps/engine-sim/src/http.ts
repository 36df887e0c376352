import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Environment, Rng } from '#libs/kernel';
import { ApiError } from './errors.ts';
import type { Fault } from './faults.ts';
import { type EventStream, afterGrace, openStream } from './stream.ts';

export const bodyBytesMax = 64 * 1024 * 1024;
/** An endless answer ends here all the same, so that a forgotten one does not run for ever. */
const endlessBytesMax = 1024 * 1024 * 1024;
const endlessChunkBytes = 16 * 1024;
const garbageBytes = 4096;

async function readText(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bodyBytesMax) throw new ApiError(413, `Body exceeds ${bodyBytesMax} bytes`, 'Request Entity Too Large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, bytes).toString('utf8');
}

function garbage(rng: Rng): Buffer {
  const bytes = Buffer.alloc(garbageBytes);
  for (let at = 0; at < garbageBytes; at += 4) bytes.writeUInt32LE(rng.uint32(), at);
  return bytes;
}

/** One request with its answer; the faults that befall an answer act here, so that no handler knows of them. */
export class Exchange {
  readonly path: string;
  readonly query: URLSearchParams;
  /** The route that took it. */
  handler = 'none';
  #stream: EventStream | undefined;

  constructor(
    readonly request: IncomingMessage,
    readonly response: ServerResponse,
    readonly environment: Environment,
    readonly fault: Fault,
  ) {
    const url = request.url ?? '/';
    const at = url.indexOf('?');
    this.path = at < 0 ? url : url.slice(0, at);
    this.query = new URLSearchParams(at < 0 ? '' : url.slice(at));
  }

  header(name: string): string | undefined {
    const value = this.request.headers[name];
    return Array.isArray(value) ? value[0] : value;
  }

  text(): Promise<string> {
    return readText(this.request);
  }

  get gone(): boolean {
    return this.response.destroyed;
  }

  /** Calls back when the client leaves before it has the whole answer. */
  onGone(left: () => void): void {
    this.response.once('close', () => {
      if (!this.response.writableEnded) left();
    });
  }

  sendJson(status: number, body: string, headers: Record<string, string> = {}): void {
    const shown = this.fault.badJson === true ? `${body.slice(0, Math.ceil(body.length / 2))}}{` : body;
    this.#send(status, shown, { 'content-type': 'application/json', ...headers });
  }

  sendText(status: number, body: string, contentType?: string): void {
    this.#send(status, body, contentType === undefined ? {} : { 'content-type': contentType });
  }

  /** Opened when first asked for. */
  stream(): EventStream {
    this.#stream ??= openStream(this.response, this.environment.timers, this.fault);
    return this.#stream;
  }

  reset(): void {
    this.request.socket.resetAndDestroy();
  }

  /** Faults instead of an answer; true when one of them took the exchange. */
  spoiled(): boolean {
    const { fault, request } = this;
    if (fault.hang === true) request.resume();
    else if (fault.reset === true) this.reset();
    else if (fault.endlessHeaders === true) this.#endless('HTTP/1.1 200 OK\r\n', 'x-endless: ');
    else if (fault.endlessBody === true) this.#endless('HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n', '');
    else if (fault.garbage === true) this.#send(200, garbage(this.environment.rng), { 'content-type': 'text/plain' });
    else return false;
    return true;
  }

  #send(status: number, body: string | Buffer, headers: Record<string, string>): void {
    const { response, fault } = this;
    if (response.destroyed) return;
    const bytes = typeof body === 'string' ? Buffer.from(body) : body;
    response.writeHead(status, { ...headers, 'content-length': bytes.length });
    const after = fault.resetAfter ?? fault.cutAfter;
    if (after !== undefined) {
      response.write(bytes.subarray(0, Math.min(after, bytes.length - 1)));
      afterGrace(this.environment.timers, () => {
        if (fault.resetAfter === undefined) response.destroy();
        else this.reset();
      });
    } else if (fault.slowMs !== undefined) {
      const half = bytes.length >> 1;
      response.write(bytes.subarray(0, half));
      this.environment.timers.after(fault.slowMs, () => response.end(bytes.subarray(half)));
    } else response.end(bytes);
  }

  /** Past Node's own writer, which refuses to write nonsense. */
  #endless(head: string, linePrefix: string): void {
    const { socket } = this.request;
    const line = `${linePrefix}${'x'.repeat(64)}\r\n`;
    const chunk = line.repeat(Math.ceil(endlessChunkBytes / line.length));
    let bytes = 0;
    const more = (): void => {
      while (!socket.destroyed && bytes < endlessBytesMax) {
        bytes += chunk.length;
        if (!socket.write(chunk)) return;
      }
      socket.destroy();
    };
    socket.write(head);
    socket.on('drain', more);
    more();
  }
}
