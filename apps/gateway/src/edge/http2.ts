import type { Http2Server, ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import { constants, createServer, Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
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
class StreamRequest extends Http2ServerRequest {
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

/** HTTP/2 connections: fed with sockets, they are bounded in streams, headers, memory and resets. */
export class Http2Side {
  readonly #server: Http2Server;
  readonly #sessions = new Set<ServerHttp2Session>();

  constructor(serve: Serve, idleMs: number) {
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
    this.#server.on('request', (request, response) => serve(request as never, response as never));
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
    for (const session of this.#sessions) session.destroy();
  }
}
