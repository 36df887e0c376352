import type { Socket } from 'node:net';
import { connect, isIP } from 'node:net';
import type { LookupFunction } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { UpstreamTrust } from '../../edge/upstream-tls.ts';
import { secured } from '../../edge/upstream-tls.ts';
import { joinedBytesMax, writeJoined } from '../http/direct-write.ts';
import type { ResponseSink } from './response-parser.ts';
import { ResponseParser } from './response-parser.ts';
import type { ParserLimits } from './response-parser.ts';

/** How a request on a connection failed. */
export type Failure = 'connect' | 'reset' | 'bad-answer';

/** Whoever sent a request over a connection. After `onEnd` or `onFailure` nothing more is told. */
export interface Caller {
  /** The connection stands: what follows is the engine's time. */
  onConnected(): void;
  onHead(status: number, reason: string, headers: readonly string[]): void;
  onBody(chunk: Buffer): void;
  onEnd(): void;
  onFailure(failure: Failure, message: string): void;
  /** After a `write` that answered false: more may be written. */
  onWritable(): void;
  /** Something threw while the caller was told. */
  onFault(thrown: unknown): void;
}

export interface ConnectionLimits extends ParserLimits {
  readonly discardBytesMax: number;
}

export interface Target {
  /** How its name is looked up; undefined is as the system does. */
  readonly lookup?: LookupFunction | undefined;
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  /** Whom its certificate may be from; undefined is the well-known authorities. */
  readonly trust: UpstreamTrust | undefined;
}

/** A pool as its connections see it. */
export interface ConnectionOwner {
  /** The answer is whole and the connection can serve again. */
  released(connection: UpstreamConnection): void;
  /** Nobody wants the answer under way; a short one is read to its end to keep the connection. */
  discarding(connection: UpstreamConnection): void;
  gone(connection: UpstreamConnection): void;
}

/** One HTTP/1 connection to an engine: one request at a time, written whole, its answer told as it comes. */
export class UpstreamConnection implements ResponseSink {
  /** Requests that it has served whole. */
  served = 0;
  idleSinceMs = 0;
  keepAliveS = 0;
  connected = false;
  #caller: Caller | undefined;
  #closed = false;
  /** More of the request's body is to come. */
  #sending = false;
  #paused = false;
  #discardBytesLeft = 0;
  readonly #discardBytesMax: number;
  readonly #socket: Socket;
  /** It is a plain TCP socket. */
  readonly #direct: boolean;
  readonly #parser: ResponseParser;
  readonly #owner: ConnectionOwner;

  constructor(target: Target, limits: ConnectionLimits, owner: ConnectionOwner) {
    this.#owner = owner;
    this.#discardBytesMax = limits.discardBytesMax;
    this.#parser = new ResponseParser(limits);
    const { host, port } = target;
    this.#direct = !target.tls;
    const lookup = target.lookup === undefined ? {} : { lookup: target.lookup };
    if (target.tls) {
      this.#socket = connectTls({
        host,
        port,
        ALPNProtocols: ['http/1.1'],
        servername: isIP(host) === 0 ? host : '',
        ...lookup,
        ...secured(target.trust),
      });
      this.#socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    } else {
      this.#socket = connect({
        host,
        port,
        ...lookup,
        onread: { buffer: readBuffer, callback: (bytes) => this.#onRead(bytes) },
      });
    }
    this.#socket.setNoDelay(true);
    this.#socket.on(target.tls ? 'secureConnect' : 'connect', () => this.#onConnect());
    this.#socket.on('end', () => this.#onClose('the engine closed the connection', true));
    // Where several addresses were tried in vain the message is empty.
    this.#socket.on('error', (error: NodeJS.ErrnoException) =>
      this.#onClose(error.message || (error.code ?? ''), false),
    );
    this.#socket.on('close', () => this.#onClose('the connection was closed', false));
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Served before, and not a byte of an answer to the present request: the engine closed an idle connection just as we used it. */
  get stale(): boolean {
    return this.served > 0 && !this.#parser.started;
  }

  /** Sends a request. `head` ends with the empty line. `more`: what of the body follows comes by `write` and `sent`. */
  send(head: string, body: Buffer, caller: Caller, more = false): void {
    this.#caller = caller;
    this.#sending = more;
    if (more) this.#socket.on('drain', () => this.#onDrain());
    this.#parser.next();
    const socket = this.#socket;
    if (head.length + body.length <= joinBytesMax) {
      writeJoined(socket, this.#direct, head, body);
      return;
    }
    socket.cork();
    socket.write(head, 'latin1');
    socket.write(body);
    socket.uncork();
  }

  /** False where the engine does not keep up. The bytes must stay as they are. */
  write(bytes: Buffer | string): boolean {
    return this.#closed || this.#socket.write(bytes);
  }

  /** The body is whole. */
  sent(): void {
    this.#sending = false;
  }

  pause(): void {
    this.#paused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#socket.resume();
  }

  /** Ends the request under way, and the connection with it: an engine sees that nobody listens. */
  destroy(): void {
    this.#caller = undefined;
    this.#close();
  }

  /** The caller has seen enough: it is told nothing more. */
  discard(): void {
    this.#caller = undefined;
    if (this.#paused) this.resume();
    this.#discardBytesLeft = this.#discardBytesMax;
    this.#owner.discarding(this);
  }

  onHead(status: number, reason: string, headers: readonly string[]): void {
    this.#caller?.onHead(status, reason, headers);
  }

  onBody(chunk: Buffer): void {
    if (this.#caller !== undefined) this.#caller.onBody(chunk);
    else if ((this.#discardBytesLeft -= chunk.length) < 0) this.#close();
  }

  onEnd(): void {
    const caller = this.#caller;
    this.#caller = undefined;
    caller?.onEnd();
  }

  #onDrain(): void {
    if (this.#sending) this.#caller?.onWritable();
  }

  #onConnect(): void {
    this.connected = true;
    this.#caller?.onConnected();
  }

  #onRead(bytes: number): boolean {
    this.#onData(readBuffer.subarray(0, bytes));
    return true;
  }

  #onData(chunk: Buffer): void {
    const parser = this.#parser;
    if (this.#closed) return;
    if (parser.done) return this.#close();
    let used = 0;
    const caller = this.#caller;
    try {
      used = parser.feed(chunk, this);
    } catch (thrown) {
      this.destroy();
      caller?.onFault(thrown);
      return;
    }
    if (this.#closed) return;
    if (parser.broken) {
      this.#fail('bad-answer', parser.problem);
      return;
    }
    if (!parser.done) return;
    this.served++;
    this.keepAliveS = parser.keepAliveS;
    // Bytes beyond the answer belong to no request: the next one would read them as its own.
    const reusable = parser.keepAlive && used === chunk.length && !this.#sending;
    if (!reusable) {
      this.#close();
      return;
    }
    // Whoever had it wait for a client is done with it; the next request would never read its answer.
    if (this.#paused) this.resume();
    this.#owner.released(this);
  }

  /** `clean`: the engine said that it is done, which may end an answer without a length. */
  #onClose(message: string, clean: boolean): void {
    if (this.#closed) return;
    if (clean && this.#caller !== undefined && this.#parser.finish(this)) this.served++;
    this.#fail(this.connected ? 'reset' : 'connect', message);
  }

  #fail(failure: Failure, message: string): void {
    const caller = this.#caller;
    this.#caller = undefined;
    this.#close();
    caller?.onFailure(failure, message);
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.destroy();
    this.#owner.gone(this);
  }
}

/** All connections read into this one: whoever is told of a chunk is done with it, or has copied it, when the call returns. */
const readBuffer = Buffer.allocUnsafeSlow(64 * 1024);

/** Up to here head and body are copied into one write, which costs less than two. */
const joinBytesMax = Math.min(16 * 1024, joinedBytesMax);
