import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { CodedError } from '#libs/kernel';
import { framed, lastChunk } from '../body/chunk-frame.ts';
import type { Listening } from '../listening.ts';
import { joinedBytesMax, writeFramed, writeJoined } from './direct-write.ts';
import { linesOf } from './header-lines.ts';
import { cleanValue } from './syntax.ts';
import type { RequestHead } from './request-head.ts';
import type { HttpResponse, HttpSocket } from './types.ts';

/** A response's connection as the response sees it. */
export interface ResponseOwner {
  readonly socket: Duplex;
  /** It is a plain TCP socket. */
  readonly direct: boolean;
  /** "date: …\r\n" of now. */
  readonly dateLine: string;
  /** "connection: keep-alive\r\nkeep-alive: timeout=…\r\n" */
  readonly keepAliveLines: string;
  /** Nothing will be read behind this response's request. */
  isLast(response: ClientResponse): boolean;
  /** The head says that nothing follows this response. */
  closesAfter(response: ClientResponse): void;
  /** All of it is written to the socket. */
  ended(response: ClientResponse): void;
}

/** One response, written in as few writes as it can be. While another one is before it on its connection, it is kept. */
export class ClientResponse implements HttpResponse {
  headersSent = false;
  chunkedEncoding = false;
  writableEnded = false;
  writableFinished = false;
  listener: Listening | undefined;
  /** The next one on the connection. */
  next: ClientResponse | undefined;
  /** A write answered false. */
  needsDrain = false;
  #turn: boolean;
  #closed = false;
  #head = '';
  #kept: Buffer[] | undefined;
  #keptBytes = 0;
  #bodiless: boolean;
  #continues = false;
  readonly #owner: ResponseOwner;
  readonly #request: RequestHead;

  constructor(owner: ResponseOwner, request: RequestHead, turn: boolean) {
    this.#owner = owner;
    this.#request = request;
    this.#turn = turn;
    this.#bodiless = request.method === 'HEAD';
  }

  get socket(): HttpSocket | null {
    return this.#turn ? (this.#owner.socket as HttpSocket) : null;
  }

  get writableNeedDrain(): boolean {
    return this.#turn ? this.#owner.socket.writableNeedDrain : this.#keptBytes >= keptBytesMax;
  }

  /** Before the head: the client may send its body. */
  sayContinue(): void {
    if (this.headersSent || this.#closed) return;
    this.#continues = true;
    this.#put(continueLine);
  }

  writeHead(status: number, second: string | readonly string[], third?: readonly string[]): this {
    const reason = typeof second === 'string' && second !== '' ? second : (STATUS_CODES[status] ?? 'Unknown');
    const headers = typeof second === 'string' ? (third ?? []) : second;
    if (this.headersSent) throw invalid('The head of a response is written once.');
    if (reason !== 'OK' && !cleanValue(reason, 0, reason.length))
      throw invalid('The reason of a status has control characters.');
    let text = `HTTP/1.1 ${status} ${reason}\r\n`;
    let sized = false;
    let dated = false;
    let closes = false;
    for (let index = 0; index + 1 < headers.length; index += 2) {
      const name = headers[index] as string;
      const value = headers[index + 1] as string;
      const lines = linesOf(name);
      const line = lines?.lineOf(value) ?? '';
      if (lines === undefined || line === '') throw invalid(`Header "${name.slice(0, 64)}" cannot be sent.`);
      switch (lines.role) {
        case 'date':
          dated = true;
          break;
        case 'connection':
          closes ||= value.toLowerCase() === 'close';
          continue;
        case 'content-length':
          sized = true;
          break;
        default:
      }
      text += line;
    }
    if (!dated) text += this.#owner.dateLine;
    const { minor, keepAlive, expects } = this.#request;
    if (status === 204 || status === 304) this.#bodiless = true;
    else if (!sized && minor === 0) closes = true;
    else if (!sized && !this.#bodiless) {
      this.chunkedEncoding = true;
      text += 'transfer-encoding: chunked\r\n';
    }
    // A client that waits for its "continue" in vain may send the body, or not: nobody could tell.
    if (!keepAlive || closes || this.#owner.isLast(this) || (expects === 'continue' && !this.#continues)) {
      text += 'connection: close\r\n\r\n';
      this.#owner.closesAfter(this);
    } else text += `${this.#owner.keepAliveLines}\r\n`;
    this.#head = text;
    this.headersSent = true;
    return this;
  }

  write(chunk: Buffer): boolean {
    if (this.#closed || this.writableEnded || this.#bodiless || chunk.length === 0) return true;
    const more = this.#put(this.chunkedEncoding ? framed(chunk) : chunk);
    if (!more) this.needsDrain = true;
    return more;
  }

  /** `frames`: with its size line and its end, whatever `chunkedEncoding` says. */
  pass(view: Buffer, frames: boolean): boolean {
    if (this.#closed || this.writableEnded || this.#bodiless || view.length === 0) return true;
    const { socket, direct } = this.#owner;
    const head = this.#head;
    if (!this.#turn || !direct || head.length + view.length > joinedBytesMax) {
      const more = this.#put(frames ? framed(view) : Buffer.from(view));
      if (!more) this.needsDrain = true;
      return more;
    }
    this.#head = '';
    const more = frames ? writeFramed(socket, head, view) : writeJoined(socket, true, head, view);
    if (!more) this.needsDrain = true;
    return more;
  }

  end(data?: Buffer | string, encoding?: BufferEncoding): this {
    if (this.#closed || this.writableEnded) return this;
    if (!this.headersSent) throw invalid('A response has a head before its end.');
    this.writableEnded = true;
    const body = this.#bodiless || data === undefined ? '' : data;
    if (
      typeof body === 'string' &&
      !this.chunkedEncoding &&
      (encoding === 'latin1' || body === lastChunk || body === '')
    ) {
      this.#putText(body);
    } else if (this.chunkedEncoding) {
      if (body.length > 0) this.#put(framed(bytesOf(body, encoding)));
      this.#putText(lastChunk);
    } else this.#put(bytesOf(body, encoding));
    if (this.#turn) this.#owner.ended(this);
    return this;
  }

  destroy(): void {
    this.#owner.socket.destroy();
  }

  /** All before it is written. */
  takeTurn(): void {
    this.#turn = true;
    const kept = this.#kept;
    this.#kept = undefined;
    this.#keptBytes = 0;
    if (kept !== undefined) this.#owner.socket.write(kept.length === 1 ? (kept[0] as Buffer) : Buffer.concat(kept));
    if (this.writableEnded) this.#owner.ended(this);
    else if (this.needsDrain && !this.#owner.socket.writableNeedDrain) this.drained();
  }

  drained(): void {
    if (!this.needsDrain) return;
    this.needsDrain = false;
    this.listener?.clientDrained();
  }

  /** The kernel has all of it. */
  finished(): void {
    if (this.#closed) return;
    this.writableFinished = true;
    this.closed();
  }

  /** It is sent, or its connection is gone. */
  closed(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#kept = undefined;
    const { listener } = this;
    this.listener = undefined;
    listener?.clientClosed();
  }

  #putText(text: string): void {
    const head = this.#head;
    this.#head = '';
    const { length } = head;
    if (length + text.length === 0) return;
    const { socket, direct } = this.#owner;
    if (!this.#turn) this.#keep(Buffer.from(head + text, 'latin1'));
    else if (direct && length + text.length <= joinedBytesMax) writeJoined(socket, true, head, text);
    else socket.write(head + text, 'latin1');
  }

  /** False where the client does not keep up. */
  #put(chunk: Buffer): boolean {
    const head = this.#head;
    this.#head = '';
    const { socket, direct } = this.#owner;
    if (!this.#turn) return this.#keep(head === '' ? chunk : Buffer.concat([Buffer.from(head, 'latin1'), chunk]));
    if (head === '') return socket.write(chunk);
    if (chunk.length <= joinBytesMax && head.length + chunk.length <= joinedBytesMax) {
      return writeJoined(socket, direct, head, chunk);
    }
    socket.cork();
    socket.write(head, 'latin1');
    const more = socket.write(chunk);
    socket.uncork();
    return more;
  }

  #keep(bytes: Buffer): boolean {
    (this.#kept ??= []).push(bytes);
    this.#keptBytes += bytes.length;
    return this.#keptBytes < keptBytesMax;
  }
}

const continueLine = Buffer.from('HTTP/1.1 100 Continue\r\n\r\n');
/** Up to here head and body are copied into one write, which costs less than two. */
const joinBytesMax = 16 * 1024;
/** Of a response that waits for its turn; beyond it its engine waits. */
const keptBytesMax = 64 * 1024;

const bytesOf = (data: Buffer | string, encoding: BufferEncoding = 'utf8'): Buffer =>
  typeof data === 'string' ? Buffer.from(data, encoding) : data;

const invalid = (message: string): CodedError => new CodedError('RESPONSE_INVALID', message);
