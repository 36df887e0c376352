import type { Http2Server, ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import { constants, createServer, Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { Clock, Environment, Timer } from '#libs/kernel';
import type { Listed } from '../serve/active-list.ts';
import { ActiveList } from '../serve/active-list.ts';
import { edgeLimits } from './limits.ts';

const { NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR } = constants;

/** Without HTTP/2's own fields: an engine over HTTP/1 has no use for ":method". */
function withoutPseudo(raw: readonly string[]): string[] {
  const out: string[] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] as string;
    if (name[0] !== ':') out.push(name, raw[index + 1] as string);
  }
  return out;
}

type RequestParts = ConstructorParameters<typeof Http2ServerRequest>;

/** A stream of HTTP/2 that looks like a request over HTTP/1 to who serves it. */
class StreamRequest extends Http2ServerRequest implements Listed {
  place = -1;
  /** When its body must be here. */
  dueMs = 0;

  constructor(...[stream, headers, options, raw]: RequestParts) {
    super(stream, headers, options, withoutPseudo(raw));
  }
}

const socketOf = Object.getOwnPropertyDescriptor(Http2ServerRequest.prototype, 'socket')?.get as (
  this: Http2ServerRequest,
) => Http2ServerRequest['socket'];
const cutting = Symbol('cutting');

// What would cut an HTTP/1 connection cuts the stream, and says that it was cut.
Object.defineProperty(StreamRequest.prototype, 'socket', {
  get(this: StreamRequest & { [cutting]?: object }) {
    const { stream } = this;
    return (this[cutting] ??= new Proxy(socketOf.call(this), {
      get: (target, name) => (name === 'destroy' ? () => cut(stream) : (Reflect.get(target, name) as unknown)),
    }));
  },
});

class StreamResponse extends Http2ServerResponse {
  /** Node's keeps the last of several fields with one name; an engine may answer several cookies. */
  override writeHead(status: number, ...rest: unknown[]): this {
    const headers = rest.at(-1);
    if (Array.isArray(headers)) {
      const out: OutgoingHttpHeaders = {};
      for (let index = 0; index + 1 < headers.length; index += 2) {
        const name = String(headers[index]).toLowerCase();
        const value = String(headers[index + 1]);
        const before = out[name];
        out[name] = before === undefined ? value : [before, value].flat().map(String);
      }
      // The connection is shared: it goes on, whatever becomes of this request.
      delete out['connection'];
      return super.writeHead(status, out);
    }
    const { connection: _, ...kept } = (headers ?? {}) as OutgoingHttpHeaders;
    return super.writeHead(status, kept);
  }

  override setHeader(name: string, value: number | string | readonly string[]): void {
    if (name.toLowerCase() !== 'connection') super.setHeader(name, value);
  }

  /** Never an end that looks whole. */
  override destroy(): this {
    cut(this.stream);
    return this;
  }
}

function cut(stream: ServerHttp2Stream | undefined): void {
  if (stream === undefined || stream.destroyed) return;
  stream.close(stream.writableFinished ? NGHTTP2_NO_ERROR : NGHTTP2_INTERNAL_ERROR);
}

// Newer than the types of Node.
const resets = { streamResetBurst: edgeLimits.streamResetBurst, streamResetRate: edgeLimits.streamResetPerSecond };

export type Serve = (request: IncomingMessage, response: ServerResponse) => void;

export interface Http2Options {
  readonly serve: Serve;
  /** The body of a request that is not answered yet did not come in time. */
  readonly late: (response: ServerResponse) => void;
  readonly idleMs: number;
  /** From a request's head to the end of its body. */
  readonly requestMs: number;
  readonly environment: Pick<Environment, 'clock' | 'timers'>;
}

/** HTTP/2 connections: fed with sockets, they are bounded in streams, headers, memory and resets. */
export class Http2Side {
  readonly #server: Http2Server;
  readonly #sessions = new Set<ServerHttp2Session>();
  /** Requests whose body is still to come, with their responses. */
  readonly #uploads = new ActiveList<StreamRequest>();
  readonly #responses = new WeakMap<StreamRequest, StreamResponse>();
  readonly #clock: Clock;
  readonly #late: (response: ServerResponse) => void;
  readonly #sweeper: Timer;

  constructor({ serve, late, idleMs, requestMs, environment }: Http2Options) {
    this.#clock = environment.clock;
    this.#late = late;
    this.#sweeper = environment.timers.every(edgeLimits.uploadLookMs, () => this.#sweep());
    this.#server = createServer({
      Http2ServerRequest: StreamRequest,
      Http2ServerResponse: StreamResponse as never,
      maxSessionMemory: edgeLimits.sessionMemoryMib,
      maxHeaderListPairs: edgeLimits.headerPairsMax,
      // nghttp2's own bound of the whole block; what goes beyond it ends the connection.
      maxSendHeaderBlockLength: edgeLimits.headerListBytesMax * 4,
      ...resets,
      settings: {
        enablePush: false,
        maxConcurrentStreams: edgeLimits.streamsMax,
        maxHeaderListSize: edgeLimits.headerListBytesMax,
        initialWindowSize: edgeLimits.streamWindowBytes,
      },
    });
    this.#server.on('request', (request, response) => {
      if (!request.stream.endAfterHeaders) this.#await(request as StreamRequest, response as StreamResponse, requestMs);
      serve(request as never, response as never);
    });
    // Told to the stream and its session, which end by themselves.
    this.#server.on('sessionError', () => {});
    this.#server.on('session', (session) => {
      this.#sessions.add(session);
      session.setTimeout(idleMs, () => session.destroy());
      session.on('close', () => this.#sessions.delete(session));
      session.on('error', () => {});
    });
  }

  get sessions(): number {
    return this.#sessions.size;
  }

  accept(socket: unknown): void {
    this.#server.emit('connection', socket);
  }

  /** Tells clients to open no more streams here; those under way end as they do. */
  drain(): void {
    for (const session of this.#sessions) session.close();
  }

  close(): void {
    this.#sweeper.cancel();
    for (const session of this.#sessions) session.destroy();
  }

  #await(request: StreamRequest, response: StreamResponse, requestMs: number): void {
    request.dueMs = this.#clock.monotonicMs() + requestMs;
    this.#responses.set(request, response);
    this.#uploads.add(request);
    const over = (): void => this.#uploads.remove(request);
    request.on('end', over);
    request.stream.on('close', over);
  }

  /** Other streams of a connection go on: it is not idle, so that this alone ends a body that trickles or stops. */
  #sweep(): void {
    const nowMs = this.#clock.monotonicMs();
    this.#uploads.forEach((request) => {
      if (nowMs < request.dueMs) return;
      this.#uploads.remove(request);
      const { stream } = request;
      const response = this.#responses.get(request);
      if (response === undefined || response.headersSent) return cut(stream);
      this.#late(response as never);
      // Closes once that is said in full.
      if (stream.writableEnded) stream.close(NGHTTP2_NO_ERROR);
      else cut(stream);
    });
  }
}
