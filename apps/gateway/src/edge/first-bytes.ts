import { nextTick } from 'node:process';
import type { Socket } from 'node:net';
import { isIP } from 'node:net';
import type { Timers } from '#libs/kernel';
import type { Networks } from './addresses.ts';
import { announce } from './client-address.ts';
import { edgeLimits } from './limits.ts';

const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
const lineBytesMax = 107;
const headerBytesMax = 16 + 536;

/** What stands at the front of these bytes; undefined while more is needed. */
export interface ProxyHeader {
  readonly bytes: number;
  /** Undefined where the proxy speaks for itself, as health checks do. */
  readonly address: string | undefined;
}

/** A PROXY protocol header of version 1 or 2. @throws RangeError where it is none */
export function proxyHeader(data: Buffer): ProxyHeader | undefined {
  const shared = Math.min(data.length, signature.length);
  if (data.subarray(0, shared).equals(signature.subarray(0, shared))) {
    return shared < signature.length ? undefined : second(data);
  }
  return first(data);
}

function first(data: Buffer): ProxyHeader | undefined {
  const start = data.toString('latin1', 0, Math.min(data.length, lineBytesMax));
  if (!'PROXY '.startsWith(start.slice(0, 6))) throw new RangeError('no PROXY protocol header');
  const end = start.indexOf('\r\n');
  if (end < 0) {
    if (start.length >= lineBytesMax) throw new RangeError('a PROXY line without an end');
    return undefined;
  }
  const [, family, source = ''] = start.slice(0, end).split(' ');
  if (family === 'UNKNOWN') return { bytes: end + 2, address: undefined };
  if (isIP(source) !== (family === 'TCP4' ? 4 : family === 'TCP6' ? 6 : -1)) throw new RangeError('a bad PROXY line');
  return { bytes: end + 2, address: source };
}

function second(data: Buffer): ProxyHeader | undefined {
  if (data.length < 16) return undefined;
  const version = (data[12] as number) >> 4;
  const command = (data[12] as number) & 15;
  const family = (data[13] as number) >> 4;
  const length = data.readUInt16BE(14);
  if (version !== 2 || command > 1 || 16 + length > headerBytesMax) throw new RangeError('a bad PROXY header');
  if (data.length < 16 + length) return undefined;
  const bytes = 16 + length;
  if (command === 0 || family === 0 || family === 3) return { bytes, address: undefined };
  const addressBytes = family === 1 ? 4 : family === 2 ? 16 : 0;
  if (addressBytes === 0 || length < addressBytes * 2 + 4) throw new RangeError('a bad PROXY header');
  const raw = data.subarray(16, 16 + addressBytes);
  if (family === 1) return { bytes, address: raw.join('.') };
  const groups = Array.from({ length: 8 }, (_, index) => raw.readUInt16BE(index * 2).toString(16));
  return { bytes, address: groups.join(':') };
}

/** Reads what stands before a connection's own bytes: a proxy's header, and whether HTTP/2 begins. Each wait is bounded. */
export class FirstBytes {
  readonly refused = { count: 0 };

  constructor(
    private readonly timers: Timers,
    /** Those that send a PROXY header, always; undefined where nobody does. */
    private readonly proxies: Networks | undefined,
  ) {}

  /** `next` is told once, with the connection's own bytes to be read; not at all where the connection was closed. */
  read(socket: Socket, looksForHttp2: boolean, next: (http2: boolean) => void): void {
    let fromProxy = this.proxies?.has(socket.remoteAddress ?? '') === true;
    if (!fromProxy && !looksForHttp2) return next(false);
    let held: Buffer = Buffer.alloc(0);
    const deadline = this.timers.after(edgeLimits.firstBytesMsMax, () => socket.destroy());
    const over = (): void => {
      deadline.cancel();
      socket.off('readable', more);
      socket.off('close', over);
    };
    const more = (): void => {
      for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null) {
        held = Buffer.concat([held, chunk]);
      }
      let http2: boolean | undefined;
      try {
        if (fromProxy) {
          const header = proxyHeader(held);
          if (header === undefined) return;
          fromProxy = false;
          held = held.subarray(header.bytes);
          if (header.address !== undefined) announce(socket, header.address);
        }
        http2 = looksForHttp2 ? beginsHttp2(held) : false;
      } catch {
        this.refused.count++;
        socket.destroy();
        return;
      }
      if (http2 === undefined) return;
      over();
      if (held.length > 0) socket.unshift(held);
      // A stream forgets in the next tick that it was read by hand.
      nextTick(next, http2);
    };
    socket.on('readable', more);
    socket.on('close', over);
  }
}

function beginsHttp2(data: Buffer): boolean | undefined {
  const shared = Math.min(data.length, preface.length);
  if (!data.subarray(0, shared).equals(preface.subarray(0, shared))) return false;
  return shared === preface.length ? true : undefined;
}
