import type { IncomingMessage, ServerResponse } from 'node:http';
import { ClientRequest } from './http/client-request.ts';
import { ClientResponse } from './http/client-response.ts';
import type { HttpRequest, HttpResponse } from './http/types.ts';

/** What Node tells of one request and its response. */
export interface Listening {
  bodyData(chunk: Buffer): void;
  bodyEnd(): void;
  clientDrained(): void;
  clientClosed(): void;
}

const listener = Symbol('listener');

/** Node's own objects carry who listens to them, so that one function of each kind serves all requests. */
interface Carrier {
  [listener]?: Listening;
}

function of(carrier: unknown): Listening {
  return (carrier as Required<Carrier>)[listener];
}

function onData(this: unknown, chunk: Buffer): void {
  of(this).bodyData(chunk);
}

function onEnd(this: unknown): void {
  of(this).bodyEnd();
}

function onDrain(this: unknown): void {
  of(this).clientDrained();
}

function onClose(this: unknown): void {
  of(this).clientClosed();
}

/** The response's close tells the same. */
const ignoreError = (): void => {};

export function listen(who: Listening, request: HttpRequest, response: HttpResponse): void {
  if (request instanceof ClientRequest && response instanceof ClientResponse) {
    request.listener = who;
    response.listener = who;
    return;
  }
  (request as Carrier)[listener] = who;
  (response as Carrier)[listener] = who;
  (response as unknown as ServerResponse).on('close', onClose);
  (request as unknown as IncomingMessage).on('error', ignoreError);
}

export function listenToBody(request: HttpRequest): void {
  if (request instanceof ClientRequest) {
    request.listenToBody();
    return;
  }
  (request as unknown as IncomingMessage).on('data', onData);
  (request as unknown as IncomingMessage).on('end', onEnd);
}

export function listenToDrain(response: HttpResponse): void {
  if (response instanceof ClientResponse) return;
  (response as unknown as ServerResponse).on('drain', onDrain);
}

/** Who listens to a response, if it is one of ours. */
export const listenerOf = (carrier: unknown): Listening | undefined =>
  carrier instanceof ClientResponse ? carrier.listener : (carrier as Carrier | null | undefined)?.[listener];
