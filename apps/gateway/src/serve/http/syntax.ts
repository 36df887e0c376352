/** The grammar that both sides of HTTP/1 share (RFC 9110, 9112). */

const tokenChar = new Uint8Array(256);
for (const char of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
  tokenChar[char.charCodeAt(0)] = 1;
}

export const isToken = (code: number): boolean => tokenChar[code] === 1;

export const isBlank = (code: number): boolean => code === 0x20 || code === 0x09;

/** Compares without regard to case; `lower` is in lower case. */
export const sameName = (name: string, lower: string): boolean => name === lower || name.toLowerCase() === lower;

/** Position of the colon after a name of token characters, or -1. */
export function nameEnd(text: string, from: number, to: number): number {
  let at = from;
  while (at < to && tokenChar[text.charCodeAt(at)] === 1) at++;
  return at > from && at < to && text.charCodeAt(at) === 0x3a ? at : -1;
}

/** No control characters but tabs: a line end above all. */
export function cleanValue(text: string, from: number, to: number): boolean {
  for (let at = from; at < to; at++) {
    const code = text.charCodeAt(at);
    if ((code < 0x20 && code !== 0x09) || code === 0x7f) return false;
  }
  return true;
}

interface Latin1 {
  latin1Slice(from: number, to: number): string;
  latin1Write(text: string, at: number): number;
}

/** Node's own methods behind `toString` and `write`, which cost as much again to choose them. */
export const latin1 = (bytes: Buffer, from = 0, to = bytes.length): string =>
  (bytes as unknown as Latin1).latin1Slice(from, to);

export const writeLatin1 = (bytes: Buffer, text: string, at = 0): number =>
  (bytes as unknown as Latin1).latin1Write(text, at);

/** Position of the empty line that ends a head, or -1. Looks at every fourth byte, where it can. */
export function headEnd(bytes: Buffer, from: number): number {
  const { length } = bytes;
  for (let at = from + 3; at < length;) {
    const byte = bytes[at] as number;
    if (byte > 0x0d) at += 4;
    else if (byte === 0x0a && bytes[at - 1] === 0x0d) {
      if (bytes[at - 2] === 0x0a && bytes[at - 3] === 0x0d) return at - 3;
      at += 2;
    } else at++;
  }
  return -1;
}

const namesMax = 1_024;
const names = new Map<string, string>();

/** A header's name in lower case; '' where it is none. Names come again and again: what was found of one is kept, of so many. */
export function lowerName(name: string): string {
  const known = names.get(name);
  if (known !== undefined) return known;
  for (let at = 0; at < name.length; at++) if (tokenChar[name.charCodeAt(at)] !== 1) return '';
  const lower = name.toLowerCase();
  if (name.length <= nameLengthMax && names.size < namesMax) names.set(name, lower);
  return lower;
}

const nameLengthMax = 64;

/** A header's name as it was sent, and in lower case. */
export interface HeaderName {
  readonly name: string;
  readonly lower: string;
}

const placesOfNames = 512;
const latestNames: (HeaderName | undefined)[] = Array.from({ length: placesOfNames }, () => undefined);

/**
 * The name that stands there, of token characters. Found again it is the same string, whose hash is known, and nothing is cut out; each place keeps
 * the one found there last.
 */
export function nameAt(text: string, from: number, to: number): HeaderName {
  const length = to - from;
  const place = (text.charCodeAt(from) * 37 + text.charCodeAt(to - 1) * 11 + length) & (placesOfNames - 1);
  const before = latestNames[place];
  if (before !== undefined && before.name.length === length && text.startsWith(before.name, from)) return before;
  const name = text.slice(from, to);
  if (length > nameLengthMax) return { name, lower: lowerName(name) };
  // A text of its own: what is cut out of a head would keep all of it.
  const own = Buffer.from(name, 'latin1').toString('latin1');
  return (latestNames[place] = { name: own, lower: lowerName(own) });
}

export function hexValue(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
