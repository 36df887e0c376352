import { writeSync } from 'node:fs';
import type { Duplex } from 'node:stream';
import { framed, frameBytesMax, writeFrame } from '../body/chunk-frame.ts';
import { writeLatin1 } from './syntax.ts';
import type { HttpResponse } from './types.ts';

/** What goes out in one write is put together here, for all connections: nothing of it outlives the call. */
const scratch = Buffer.allocUnsafeSlow(64 * 1024);

/** Up to here bytes are put together; more is written as it is. */
export const joinedBytesMax = scratch.length - frameBytesMax;

interface Taken extends Duplex {
  readonly connecting?: boolean;
  readonly _handle?: { readonly fd?: number } | null;
}

/**
 * The descriptor of a TCP socket that nothing waits on, so that what is written now comes next; -1 of any other. Asked anew for each write: the
 * number of a closed one is soon another connection's.
 */
function descriptorOf(socket: Taken): number {
  if (socket.writableLength > 0 || socket.connecting === true || socket.destroyed || socket.writableEnded) return -1;
  return socket._handle?.fd ?? -1;
}

/**
 * Hands bytes to the kernel without a stream's request, callback and tick for each write. What it does not take at once, and what is wrong, is
 * the stream's to deal with. False where the other side does not keep up.
 */
function writeAtOnce(socket: Duplex, bytes: Buffer, length: number): boolean {
  const fd = descriptorOf(socket as Taken);
  let written = 0;
  if (fd >= 0) {
    try {
      written = writeSync(fd, bytes, 0, length);
    } catch {
      // Full or gone: the stream meets the same, and tells it.
    }
    if (written === length) return true;
  }
  return socket.write(Buffer.from(bytes.subarray(written, length)));
}

/** `direct`: a plain TCP socket. The caller has looked that head and body have room in `joinedBytesMax`. */
export function writeJoined(socket: Duplex, direct: boolean, head: string, body: Buffer | string): boolean {
  if (!direct) {
    const joined = Buffer.allocUnsafe(head.length + body.length);
    join(joined, head, body);
    return socket.write(joined);
  }
  return writeAtOnce(socket, scratch, join(scratch, head, body));
}

function join(into: Buffer, head: string, body: Buffer | string): number {
  const at = head.length;
  if (at > 0) writeLatin1(into, head);
  if (typeof body === 'string') writeLatin1(into, body, at);
  else into.set(body, at);
  return at + body.length;
}

/** The same of a chunk with its size line and its end. */
export function writeFramed(socket: Duplex, head: string, chunk: Buffer): boolean {
  if (head !== '') writeLatin1(scratch, head);
  return writeAtOnce(socket, scratch, writeFrame(scratch, head.length, chunk));
}

/** A part of a body on its way to a client, from memory that is used again. False where the client does not keep up. */
export function passTo(response: HttpResponse, view: Buffer, frames: boolean): boolean {
  if (response.pass !== undefined) return response.pass(view, frames);
  return response.write(frames ? framed(view) : Buffer.from(view));
}
