import type { IncomingHttpHeaders } from 'node:http';

/** What tells that a client's connection is there, and ends it. */
export interface HttpSocket {
  readonly destroyed: boolean;
  readonly remoteAddress?: string | undefined;
  destroy(): unknown;
}

/** The part of a request that the data plane uses: of our own server, of node:http, of node:http2. */
export interface HttpRequest {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: string[];
  /** All of it is here. */
  readonly complete: boolean;
  readonly socket: HttpSocket;
  pause(): unknown;
  resume(): unknown;
}

/** The same of a response. `headers`: name, value, name, value … */
export interface HttpResponse {
  readonly headersSent: boolean;
  readonly writableEnded: boolean;
  /** The kernel has all of it. */
  readonly writableFinished: boolean;
  readonly writableNeedDrain: boolean;
  /** Null while an answer before it on the same connection is not written. */
  readonly socket: HttpSocket | null;
  /** True once the head has said so; whoever sets it to false writes chunks that are framed already. */
  chunkedEncoding: boolean;
  writeHead(status: number, reason: string, headers: string[]): unknown;
  writeHead(status: number, headers: string[]): unknown;
  write(chunk: Buffer): boolean;
  /** The same of bytes whose memory is used again, where there is a way that copies less. `frames`: as a chunk. */
  pass?(view: Buffer, frames: boolean): boolean;
  end(data?: Buffer | string, encoding?: BufferEncoding): unknown;
  destroy(): unknown;
}
