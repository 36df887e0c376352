import type { IncomingMessage, ServerResponse } from 'node:http';

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

export function listen(who: Listening, request: IncomingMessage, response: ServerResponse): void {
  (request as Carrier)[listener] = who;
  (response as Carrier)[listener] = who;
  response.on('close', onClose);
  request.on('error', ignoreError);
}

export function listenToBody(request: IncomingMessage): void {
  request.on('data', onData);
  request.on('end', onEnd);
}

export function listenToDrain(response: ServerResponse): void {
  response.on('drain', onDrain);
}

/** Who listens to a response, if it is one of ours. */
export const listenerOf = (carrier: unknown): Listening | undefined =>
  (carrier as Carrier | null | undefined)?.[listener];
