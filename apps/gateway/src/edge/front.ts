import type { ServerResponse } from 'node:http';
import type { Server, Socket } from 'node:net';
import { createServer } from 'node:net';
import type { Environment } from '#libs/kernel';
import type { Server as TlsServer } from 'node:tls';
import { passOn } from './client-address.ts';
import { Http2Side } from './http2.ts';
import type { Serve } from './http2.ts';
import type { ServerTls } from './server-tls.ts';
import type { FirstBytes } from './first-bytes.ts';

export interface EdgeFrontOptions {
  /** Undefined: connections are not encrypted. */
  readonly tls: ServerTls | undefined;
  /** Offered to clients over TLS. */
  readonly http2: boolean;
  /** Taken without TLS where the client begins with it. */
  readonly h2c: boolean;
  /** Reads what stands before a connection's own bytes; undefined where nothing may. */
  readonly firstBytes: FirstBytes | undefined;
  readonly idleMs: number;
  /** From the head of a request over HTTP/2 to the end of its body. */
  readonly requestMs: number;
  readonly environment: Pick<Environment, 'clock' | 'timers'>;
}

/** Whoever serves what comes through. */
export interface Behind {
  /** A connection that speaks HTTP/1, decrypted. */
  http1(socket: Socket): void;
  /** A request over HTTP/2. */
  serve: Serve;
  /** The body of such a request did not come in time; nothing was answered yet. */
  late?: (response: ServerResponse) => void;
}

/**
 * Listens instead of the HTTP server where a connection needs more than HTTP/1: it decrypts, tells the protocols apart, and hands each
 * connection on. Without it the HTTP server listens itself.
 */
export class EdgeFront {
  /** To listen as the caller likes, once it is said who serves. */
  readonly listener: Server;
  readonly #options: EdgeFrontOptions;
  readonly #sockets = new Set<Socket>();
  #http2: Http2Side | undefined;
  #tls: TlsServer | undefined;
  #behind: Behind | undefined;

  constructor(options: EdgeFrontOptions) {
    this.#options = options;
    this.listener = createServer({ noDelay: true }, (socket) => this.#accept(socket));
  }

  get http2Sessions(): number {
    return this.#http2?.sessions ?? 0;
  }

  /** Says who serves; before it listens. */
  behind(behind: Behind): void {
    const { tls, http2, h2c, idleMs, requestMs, environment } = this.#options;
    this.#behind = behind;
    const { serve, late = ignore } = behind;
    if (http2 || h2c) this.#http2 = new Http2Side({ serve, late, idleMs, requestMs, environment });
    if (tls === undefined) return;
    const protocols = http2 ? ['h2', 'http/1.1'] : ['http/1.1'];
    this.#tls = tls.server(protocols, (socket) => {
      const under = (socket as unknown as { _parent?: Socket })._parent;
      passOn(under, socket);
      socket.once('close', () => under?.destroy());
      if (socket.alpnProtocol === 'h2') this.#http2?.accept(socket);
      else behind.http1(socket);
    });
  }

  /** Nothing new over HTTP/2 connections; what is under way ends. */
  drain(): void {
    this.#http2?.drain();
  }

  /** Ends connections; the listener is its owner's to close. */
  close(): void {
    this.#http2?.close();
    for (const socket of this.#sockets) socket.destroy();
    this.#options.tls?.stop();
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', ignore);
    const { firstBytes } = this.#options;
    if (firstBytes === undefined) this.#route(socket, false);
    else firstBytes.read(socket, this.#options.h2c, (http2) => this.#route(socket, http2));
  }

  #route(socket: Socket, http2: boolean): void {
    if (this.#tls !== undefined) this.#tls.emit('connection', socket);
    else if (http2) this.#http2?.accept(socket);
    else {
      // Bytes that were read and put back are lost to who reads from the kernel: it is a stream from here on.
      socket.resume();
      this.#behind?.http1(socket);
    }
  }
}

/** Told to whoever reads the connection by its close. */
const ignore = (): void => {};
