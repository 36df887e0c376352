import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** Whoever reads a connection. The bytes are a view of memory that is read into again: copy what must outlive the call. */
export interface Reader {
  onRead(bytes: Buffer): void;
}

/** All connections read into this one. */
const readBuffer = Buffer.allocUnsafeSlow(64 * 1024);

interface Taken extends Socket {
  _handle: object | null;
  _server: unknown;
  server: unknown;
}

/** A connection whose bytes go to a reader without a stream between, until it is let go. */
export interface ReadingSocket {
  readonly socket: Duplex;
  /** Writes are done when `write` returns, unless `writableLength` says otherwise. */
  readonly direct: boolean;
  /** From now on it is a stream as any other. */
  release(): void;
}

/**
 * Reads a connection that a server with `pauseOnConnect` accepted. A socket of ours on the same handle takes its place, because Node lets
 * one name the buffer to read into only where a socket is made. Any other stream, TLS above all, is read as it is.
 */
export function readingSocket(accepted: Duplex, reader: Reader): ReadingSocket {
  const taken = accepted as Taken;
  // A stream that looks like one, as TLS does, has bytes of its own to undo.
  const kind: unknown = accepted.constructor;
  const handle = kind === Socket && accepted.isPaused() ? taken._handle : null;
  if (handle === null) {
    const onData = (chunk: Buffer): void => reader.onRead(chunk);
    accepted.on('data', onData);
    return { socket: accepted, direct: false, release: () => void accepted.off('data', onData) };
  }
  taken._handle = null;
  let released = false;
  const onread = {
    buffer: readBuffer,
    callback: (size: number): boolean => {
      const bytes = readBuffer.subarray(0, size);
      if (released) return socket.push(Buffer.from(bytes));
      reader.onRead(bytes);
      return true;
    },
  };
  const socket = new Socket({ handle, allowHalfOpen: true, onread } as never);
  // The server counts its connections until they close.
  const { _server: server } = taken;
  Object.assign(socket, { _server: server, server });
  taken._server = null;
  return { socket, direct: true, release: () => void (released = true) };
}
