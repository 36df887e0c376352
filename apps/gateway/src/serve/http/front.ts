import type { Server as HttpServer } from 'node:http';
import type { Server as TcpServer } from 'node:net';
import { createServer } from 'node:net';
import type { Duplex } from 'node:stream';
import { ActiveList } from '../active-list.ts';
import type { ConnectionHost, ConnectionLimits } from './client-connection.ts';
import { ClientConnection } from './client-connection.ts';
import type { ClientRequest } from './client-request.ts';
import type { ClientResponse } from './client-response.ts';
import type { ClientFault } from './faults.ts';
import type { HttpRequest } from './types.ts';

/** Requests that leave HTTP. A socket once taken is the taker's to close. */
export interface Upgrades {
  accepts(request: HttpRequest): boolean;
  /** `head`: what came behind the request. Nothing is written yet. */
  take(request: HttpRequest, socket: Duplex, head: Buffer): void;
}

export interface FrontOptions {
  readonly limits: ConnectionLimits;
  readonly nowMs: () => number;
  /** Of the wall clock. */
  readonly dateMs: () => number;
  /** False where a request is not the data plane's. */
  handle(request: ClientRequest, response: ClientResponse): boolean;
  refuse(response: ClientResponse, fault: ClientFault): void;
  unparsed(fault: ClientFault): string;
  fault(thrown: unknown): void;
}

/** Clients' connections over any stream. Requests that are not ours go, with their connection, to a server of node:http. */
export class Front implements ConnectionHost {
  coarseMs: number;
  dateLine = '';
  readonly keepAliveLines: string;
  draining = false;
  /** Takes connections with requests that are not ours; without one they are closed. */
  framework: HttpServer | undefined;
  /** Undefined: no request leaves HTTP. */
  upgrading: Upgrades | undefined;
  readonly limits: ConnectionLimits;
  readonly #options: FrontOptions;
  readonly #connections = new ActiveList<ClientConnection>();
  #dateSecond = -1;
  #handedOver = false;

  constructor(options: FrontOptions) {
    this.#options = options;
    this.limits = options.limits;
    this.coarseMs = options.nowMs();
    this.keepAliveLines = `connection: keep-alive\r\nkeep-alive: timeout=${Math.floor(this.limits.clientKeepAliveMs / 1000)}\r\n`;
    this.#setDate();
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** A server whose connections come here: of TCP, to listen as the caller likes. */
  tcpServer(): TcpServer {
    return createServer({ noDelay: true, pauseOnConnect: true, allowHalfOpen: true }, (socket) => this.accept(socket));
  }

  accept(socket: Duplex): void {
    this.#connections.add(new ClientConnection(this, socket));
  }

  sweep(): void {
    this.coarseMs = this.#options.nowMs();
    this.#setDate();
    this.#connections.forEach(this.#sweepOne);
  }

  /** Idle connections go at once, the others after their last answer. */
  drain(): void {
    this.draining = true;
    this.#connections.forEach((connection) => connection.stop());
  }

  destroyAll(): void {
    this.#connections.forEach((connection) => void connection.socket.destroy());
  }

  handle(request: ClientRequest, response: ClientResponse): boolean {
    return this.#options.handle(request, response);
  }

  handOver(socket: Duplex, bytes: Buffer): void {
    if (this.framework === undefined) {
      socket.destroy();
      return;
    }
    // A server of node:http looks after its connections' timeouts from when it listens, and this one need not.
    if (!this.#handedOver && !this.framework.listening) this.framework.emit('listening');
    this.#handedOver = true;
    socket.unshift(bytes);
    this.framework.emit('connection', socket);
    socket.resume();
  }

  upgrades(request: ClientRequest): boolean {
    return this.upgrading?.accepts(request) === true;
  }

  upgrade(request: ClientRequest, socket: Duplex, head: Buffer): void {
    this.upgrading?.take(request, socket, head);
  }

  refuse(response: ClientResponse, fault: ClientFault): void {
    this.#options.refuse(response, fault);
  }

  unparsed(fault: ClientFault): string {
    return this.#options.unparsed(fault);
  }

  fault(thrown: unknown): void {
    this.#options.fault(thrown);
  }

  gone(connection: ClientConnection): void {
    this.#connections.remove(connection);
  }

  readonly #sweepOne = (connection: ClientConnection): void => connection.sweep(this.coarseMs);

  #setDate(): void {
    const dateMs = this.#options.dateMs();
    const second = Math.floor(dateMs / 1000);
    if (second === this.#dateSecond) return;
    this.#dateSecond = second;
    this.dateLine = `date: ${new Date(dateMs).toUTCString()}\r\n`;
  }
}
