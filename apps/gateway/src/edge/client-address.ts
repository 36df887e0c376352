import { isIP } from 'node:net';
import type { IncomingHttpHeaders } from 'node:http';
import type { Networks } from './addresses.ts';
import { plainAddress } from './addresses.ts';

/** What a PROXY protocol header said of a connection stands on its socket. */
const announced = Symbol('announced');
interface Carrier {
  [announced]?: string | undefined;
}

export const announce = (socket: object, address: string): void => void ((socket as Carrier)[announced] = address);
/** A decrypted socket is another object than the one that it came over. */
export const passOn = (from: object | undefined | null, to: object): void => {
  const address = (from as Carrier | undefined | null)?.[announced];
  if (address !== undefined) announce(to, address);
};

export type ForwardedHeader = 'x-forwarded-for' | 'forwarded';

export interface Asking {
  readonly headers: IncomingHttpHeaders;
  readonly socket: { readonly remoteAddress?: string | undefined };
}

/** Who is at the other end: the socket's address, or what a proxy that we trust says. Asked only where somebody needs it. */
export class ClientAddresses {
  constructor(
    private readonly trusted?: Networks,
    private readonly header: ForwardedHeader | undefined = undefined,
  ) {}

  /** '' where the connection is gone already. */
  of({ headers, socket }: Asking): string {
    let address = plainAddress((socket as Carrier)[announced] ?? socket.remoteAddress ?? '');
    const { trusted, header } = this;
    if (trusted === undefined || header === undefined || !trusted.has(address)) return address;
    const hops = hopsOf(headers[header], header);
    // From the right: each trusted proxy vouches for the one before it, and for no more.
    for (let index = hops.length - 1; index >= 0 && trusted.has(address); index--) {
      const hop = plainAddress(hops[index] as string);
      if (isIP(hop) === 0) break;
      address = hop;
    }
    return address;
  }
}

const hopsMax = 16;

function hopsOf(value: string | string[] | undefined, header: ForwardedHeader): readonly string[] {
  if (value === undefined) return [];
  const parts = String(value).split(',').slice(-hopsMax);
  if (header === 'x-forwarded-for') return parts.map((part) => bare(part.trim()));
  return parts.map((part) => {
    const found = /(?:^|;)\s*for=("[^"]*"|[^;\s]*)/i.exec(part.trim())?.[1] ?? '';
    return bare(found.replaceAll('"', ''));
  });
}

/** Without brackets and port. */
function bare(text: string): string {
  if (text.startsWith('[')) return text.slice(1, text.indexOf(']'));
  const colon = text.indexOf(':');
  return colon >= 0 && colon === text.lastIndexOf(':') ? text.slice(0, colon) : text;
}
