import type { Duplex } from 'node:stream';
import type { IncomingHttpHeaders } from 'node:http';
import type { Listening } from '../listening.ts';
import type { ClientResponse } from './client-response.ts';
import type { RequestHead } from './request-head.ts';
import type { HttpRequest, HttpSocket } from './types.ts';

/** A request's body as its connection sees it. */
export interface BodySource {
  readonly socket: Duplex;
  pauseBody(request: ClientRequest): void;
  resumeBody(request: ClientRequest): void;
}

/** A request of our own server. Without a listener its body is read and dropped. */
export class ClientRequest implements HttpRequest {
  complete = false;
  paused = false;
  listener: Listening | undefined;
  /** Whoever listens wants the body. */
  wantsBody = false;

  constructor(
    readonly head: RequestHead,
    private readonly source: BodySource,
    readonly response: ClientResponse,
  ) {}

  get method(): string {
    return this.head.method;
  }

  get url(): string {
    return this.head.url;
  }

  get headers(): IncomingHttpHeaders {
    return this.head.headers as IncomingHttpHeaders;
  }

  get rawHeaders(): string[] {
    return this.head.rawHeaders;
  }

  get socket(): HttpSocket {
    return this.source.socket as HttpSocket;
  }

  /** From now on the listener is told the body; a client that asked whether to send it is told to. */
  listenToBody(): void {
    this.wantsBody = true;
    if (this.head.expects === 'continue' && !this.complete) this.response.sayContinue();
  }

  pause(): void {
    this.source.pauseBody(this);
  }

  resume(): void {
    this.source.resumeBody(this);
  }
}
