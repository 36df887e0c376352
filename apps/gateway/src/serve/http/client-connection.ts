import { nextTick } from 'node:process';
import type { Duplex } from 'node:stream';
import type { Listed } from '../active-list.ts';
import type { BodySource } from './client-request.ts';
import { ClientRequest } from './client-request.ts';
import type { ResponseOwner } from './client-response.ts';
import { ClientResponse } from './client-response.ts';
import type { ClientFault } from './faults.ts';
import { faults } from './faults.ts';
import type { Reader, ReadingSocket } from './reading-socket.ts';
import { readingSocket } from './reading-socket.ts';
import type { RequestHead } from './request-head.ts';
import type { RequestParserLimits, RequestSink } from './request-parser.ts';
import { RequestParser } from './request-parser.ts';

export interface ConnectionLimits extends RequestParserLimits {
  readonly clientHeadersTimeoutMs: number;
  readonly clientRequestTimeoutMs: number;
  readonly clientKeepAliveMs: number;
  /** Requests of one connection under way at once; the next ones are not read. */
  readonly clientPipelinedMax: number;
  /** How long what a client still sends is read and dropped after its last answer, so that the answer reaches it. */
  readonly clientLingerMs: number;
}

/** What all connections of a server share. */
export interface ConnectionHost {
  readonly limits: ConnectionLimits;
  /** Of the last sweep: what is timed here may be late by one. */
  readonly coarseMs: number;
  readonly dateLine: string;
  readonly keepAliveLines: string;
  readonly draining: boolean;
  /** False where the request is not ours: its connection is handed over. */
  handle(request: ClientRequest, response: ClientResponse): boolean;
  /** Takes a connection on which these bytes came. */
  handOver(socket: Duplex, bytes: Buffer): void;
  /** True where the connection may leave HTTP with this request. */
  upgrades(request: ClientRequest): boolean;
  upgrade(request: ClientRequest, socket: Duplex, head: Buffer): void;
  /** The request under way is broken. */
  refuse(response: ClientResponse, fault: ClientFault): void;
  /** Writes the answer to what never became a request, and its record. */
  unparsed(fault: ClientFault): string;
  fault(thrown: unknown): void;
  gone(connection: ClientConnection): void;
}

const never = Number.POSITIVE_INFINITY;
const noBytes: Buffer = Buffer.alloc(0);

const finish = (response: ClientResponse, connection: ClientConnection): void => connection.finished(response);

/** One client's connection: its requests read one after another, their responses written in that order. */
export class ClientConnection implements RequestSink, BodySource, ResponseOwner, Reader, Listed {
  place = -1;
  readonly socket: Duplex;
  readonly #host: ConnectionHost;
  readonly #reading: ReadingSocket;
  readonly #parser: RequestParser;
  /** The request whose body is being read. */
  #current: ClientRequest | undefined;
  /** Responses that are not sent yet, in order. */
  #first: ClientResponse | undefined;
  #last: ClientResponse | undefined;
  #outstanding = 0;
  /** Bytes that came while nothing could be told. */
  #left: Buffer | undefined;
  /** Handed over once all before it is answered. */
  #foreign: Buffer | undefined;
  #paused = false;
  #closing = false;
  #lastResponse: ClientResponse | undefined;
  #lingering = false;
  #closed = false;
  #sinceMs: number;
  #deadlineMs: number;

  constructor(host: ConnectionHost, accepted: Duplex) {
    this.#host = host;
    this.#parser = new RequestParser(host.limits);
    this.#reading = readingSocket(accepted, this);
    const { socket } = this.#reading;
    this.socket = socket;
    this.#sinceMs = host.coarseMs;
    this.#deadlineMs = host.coarseMs + host.limits.clientHeadersTimeoutMs;
    socket.on('drain', this.#onDrain);
    socket.on('end', this.#onEnd);
    socket.on('error', ignoreError);
    socket.on('close', this.#onClose);
    socket.resume();
  }

  get direct(): boolean {
    return this.#reading.direct;
  }

  get dateLine(): string {
    return this.#host.dateLine;
  }

  get keepAliveLines(): string {
    return this.#host.keepAliveLines;
  }

  isLast(response: ClientResponse): boolean {
    return (this.#closing || this.#host.draining) && response === this.#last;
  }

  /** Nobody waits for anything on it. */
  get idle(): boolean {
    return this.#outstanding === 0 && this.#current === undefined && this.#parser.idle;
  }

  // ---- Bytes in -----------------------------------------------------------------------------------------------------

  onRead(bytes: Buffer): void {
    // After the last request of a connection nothing is read, but that the client leaves.
    if (this.#closed || this.#lingering || (this.#closing && this.#current === undefined)) return;
    if (this.#parser.stopped) {
      this.#keep(bytes);
      return;
    }
    if (this.#current === undefined && this.#parser.idle) this.#sinceMs = this.#host.coarseMs;
    this.#feed(bytes);
  }

  #keep(bytes: Buffer): void {
    if (this.#foreign !== undefined) this.#foreign = Buffer.concat([this.#foreign, bytes]);
    else this.#left = this.#left === undefined ? Buffer.from(bytes) : Buffer.concat([this.#left, bytes]);
    this.socket.pause();
  }

  #feed(bytes: Buffer): void {
    const parser = this.#parser;
    let used = 0;
    try {
      used = parser.feed(bytes, this);
    } catch (thrown) {
      this.#host.fault(thrown);
      this.socket.destroy();
      return;
    }
    if (this.#closed || this.#lingering || this.#foreign !== undefined) return;
    if (parser.broken) this.#fail(faults[parser.problem ?? 'malformed']);
    else if (used < bytes.length && !(this.#closing && this.#current === undefined)) this.#keep(bytes.subarray(used));
    this.#setDeadline();
  }

  /** Goes on where the reading was stopped. */
  #goOn(): void {
    if (this.#paused || this.#closed || this.#lingering || this.#outstanding >= this.#host.limits.clientPipelinedMax) {
      return;
    }
    const left = this.#left ?? noBytes;
    this.#left = undefined;
    if (this.#current === undefined) this.#sinceMs = this.#host.coarseMs;
    this.#feed(left);
    if (this.#left === undefined && this.#foreign === undefined && !this.#paused && !this.#closed) this.socket.resume();
  }

  onHead(head: RequestHead): void {
    const host = this.#host;
    const response = new ClientResponse(this, head, this.#first === undefined);
    const request = new ClientRequest(head, this, response);
    if (head.expects === 'other') {
      this.#parser.stopped = true;
      this.#fail(faults.expectation);
      return;
    }
    if (head.upgrade && this.#outstanding === 0 && host.upgrades(request)) {
      const bytes = this.#parser.behindHead();
      this.#detach();
      host.upgrade(request, this.socket, bytes);
      return;
    }
    this.#append(response);
    this.#current = request;
    if (host.handle(request, response)) return;
    this.#current = undefined;
    this.#drop(response);
    this.#parser.stopped = true;
    this.#foreign = this.#parser.fromHead();
    if (this.#outstanding === 0) this.#handOver();
    else this.socket.pause();
  }

  onBody(chunk: Buffer): void {
    const request = this.#current;
    if (request?.listener === undefined || !request.wantsBody) return;
    request.listener.bodyData(this.#reading.direct ? Buffer.from(chunk) : chunk);
  }

  onEnd(): void {
    const request = this.#current;
    if (request === undefined) return;
    this.#current = undefined;
    this.#sinceMs = this.#host.coarseMs;
    request.complete = true;
    if (!request.head.keepAlive) this.#closing = true;
    if (request.wantsBody) request.listener?.bodyEnd();
    if (this.#closing || this.#outstanding >= this.#host.limits.clientPipelinedMax) this.#parser.stopped = true;
  }

  pauseBody(request: ClientRequest): void {
    if (this.#current !== request || this.#closed) return;
    this.#paused = true;
    this.#parser.stopped = true;
    this.socket.pause();
  }

  resumeBody(request: ClientRequest): void {
    if (this.#current !== request || !this.#paused) return;
    this.#paused = false;
    nextTick(goOn, this);
  }

  /** Later, so that whoever resumed is done with what it was doing. */
  resumed(): void {
    this.#goOn();
  }

  // ---- Bytes out ----------------------------------------------------------------------------------------------------

  closesAfter(response: ClientResponse): void {
    this.#closing = true;
    this.#lastResponse ??= response;
  }

  ended(response: ClientResponse): void {
    if (this.#closed) return;
    const { socket } = this;
    if (socket.writableLength === 0) nextTick(finish, response, this);
    else socket.write(noBytes, () => this.finished(response));
  }

  finished(response: ClientResponse): void {
    if (this.#closed || this.#first !== response) return;
    this.#drop(response);
    response.finished();
    if (this.#lastResponse === response || (this.#closing && this.#first === undefined)) {
      this.#linger();
      return;
    }
    this.#first?.takeTurn();
    if (this.#first === undefined && this.#foreign !== undefined) this.#handOver();
    else if (this.#left !== undefined || this.#parser.stopped) this.#goOn();
    else this.#setDeadline();
  }

  #append(response: ClientResponse): void {
    if (this.#last === undefined) this.#first = response;
    else this.#last.next = response;
    this.#last = response;
    this.#outstanding++;
  }

  /** The first one is sent, or the last one is none of ours. */
  #drop(response: ClientResponse): void {
    this.#outstanding--;
    if (this.#first === response) {
      this.#first = response.next;
      if (this.#first === undefined) this.#last = undefined;
      return;
    }
    let before = this.#first;
    while (before !== undefined && before.next !== response) before = before.next;
    if (before === undefined) return;
    before.next = undefined;
    this.#last = before;
  }

  readonly #onDrain = (): void => {
    this.#first?.drained();
  };

  // ---- The end ------------------------------------------------------------------------------------------------------

  #setDeadline(): void {
    const { limits, coarseMs } = this.#host;
    if (this.#current !== undefined) this.#deadlineMs = this.#sinceMs + limits.clientRequestTimeoutMs;
    else if (!this.#parser.idle) this.#deadlineMs = this.#sinceMs + limits.clientHeadersTimeoutMs;
    else if (this.#outstanding > 0) this.#deadlineMs = never;
    else this.#deadlineMs = coarseMs + limits.clientKeepAliveMs;
  }

  sweep(nowMs: number): void {
    if (nowMs < this.#deadlineMs || this.#closed) return;
    this.#deadlineMs = never;
    if (this.#lingering || this.idle || this.socket.writableNeedDrain) this.socket.destroy();
    else if (this.#current === undefined && this.#outstanding > 0) {
      // The head of a request behind one that is being answered: its time begins when there is nobody before it.
      this.#sinceMs = nowMs;
      this.#setDeadline();
    } else this.#fail(faults.timeout);
  }

  /** Nothing more can be read here. What is under way ends as it would, unless it is what broke. */
  #fail(fault: ClientFault): void {
    const current = this.#current;
    this.#closing = true;
    this.#parser.stopped = true;
    if (current !== undefined && !current.response.headersSent) this.#host.refuse(current.response, fault);
    else if (current !== undefined && !current.response.writableEnded) current.response.destroy();
    else if (this.#outstanding > 0) return;
    else if (current !== undefined) this.#linger();
    else {
      this.socket.write(this.#host.unparsed(fault));
      this.#linger();
    }
  }

  /** Says that no more is written, and lets the client read what was, before the connection goes. */
  #linger(): void {
    if (this.#closed || this.#lingering) return;
    this.#lingering = true;
    this.#left = undefined;
    this.#deadlineMs = this.#host.coarseMs + this.#host.limits.clientLingerMs;
    this.#leave();
    this.socket.resume();
    this.socket.end();
  }

  /** The server stops: an idle connection goes at once, another one after its last answer. */
  stop(): void {
    if (this.idle && !this.#lingering) this.#linger();
    else this.#closing = true;
  }

  /** The client is done sending. Who waits for no more of its answer has left. */
  readonly #onEnd = (): void => {
    if (this.#outstanding > 0 || this.#current !== undefined) this.socket.destroy();
    else this.socket.end();
  };

  readonly #onClose = (): void => {
    this.#closed = true;
    this.#leave();
    this.#host.gone(this);
  };

  /** Whoever still waits for its turn is told that it will not come. */
  #leave(): void {
    this.#current = undefined;
    for (let response = this.#first; response !== undefined; response = response.next) response.closed();
    this.#first = this.#last = undefined;
    this.#outstanding = 0;
  }

  #handOver(): void {
    const bytes = this.#foreign ?? noBytes;
    this.#detach();
    this.#host.handOver(this.socket, bytes);
  }

  #detach(): void {
    const { socket } = this;
    this.#closed = true;
    this.#parser.stopped = true;
    this.#reading.release();
    socket.off('drain', this.#onDrain);
    socket.off('end', this.#onEnd);
    socket.off('error', ignoreError);
    socket.off('close', this.#onClose);
    this.#host.gone(this);
  }
}

const ignoreError = (): void => {};
const goOn = (connection: ClientConnection): void => connection.resumed();
