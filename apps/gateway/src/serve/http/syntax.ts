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

export function hexValue(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
