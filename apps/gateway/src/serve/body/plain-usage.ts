import type { RecordedUsage } from '#libs/recording';

const digitsMax = 9;
const promptName = Buffer.from('prompt_tokens');
const completionName = Buffer.from('completion_tokens');
const detailsName = Buffer.from('prompt_tokens_details');
const cachedName = Buffer.from('cached_tokens');

/** Where reading is, and the key read last: reading is synchronous. */
let at = 0;
let keyStart = 0;
let keyEnd = 0;

/**
 * The counts of chat's `usage` object at this brace, as engines write it: whole numbers, and one level of details. Undefined of any other, which
 * JSON.parse then reads; it makes an object, and this does not.
 */
export function plainUsage(bytes: Buffer, brace: number): RecordedUsage | undefined {
  let promptTokens = -1;
  let completionTokens = -1;
  let cachedTokens = 0;
  at = brace + 1;
  do {
    if (!key(bytes)) return undefined;
    const [from, to] = [keyStart, keyEnd];
    if (bytes[at] === 0x7b) {
      const cached = cachedIn(bytes);
      if (cached < 0) return undefined;
      if (same(bytes, from, to, detailsName)) cachedTokens = cached;
      else if (same(bytes, from, to, promptName) || same(bytes, from, to, completionName)) return undefined;
    } else {
      const count = countAt(bytes);
      if (count === other) return undefined;
      if (same(bytes, from, to, detailsName)) cachedTokens = 0;
      else if (same(bytes, from, to, promptName)) promptTokens = count;
      else if (same(bytes, from, to, completionName)) completionTokens = count;
    }
  } while (goesOn(bytes));
  if (bytes[at - 1] !== 0x7d || (promptTokens < 0 && completionTokens < 0)) return undefined;
  return {
    promptTokens: Math.max(0, promptTokens),
    completionTokens: Math.max(0, completionTokens),
    cachedTokens,
    fromEngine: true,
  };
}

/** Of details; -1 where they are written in another way. */
function cachedIn(bytes: Buffer): number {
  let cached = 0;
  at++;
  do {
    if (!key(bytes)) return -1;
    const isCached = same(bytes, keyStart, keyEnd, cachedName);
    const count = countAt(bytes);
    if (count === other) return -1;
    if (isCached) cached = Math.max(0, count);
  } while (goesOn(bytes));
  return bytes[at - 1] === 0x7d ? cached : -1;
}

/** A key without escapes and its colon; `at` is then where its value begins. */
function key(bytes: Buffer): boolean {
  space(bytes);
  if (bytes[at] !== 0x22) return false;
  keyStart = ++at;
  for (let byte = bytes[at]; byte !== 0x22; byte = bytes[++at]) {
    if (byte === undefined || byte < 0x20 || byte >= 0x7f || byte === 0x5c) return false;
  }
  keyEnd = at++;
  space(bytes);
  if (bytes[at] !== 0x3a) return false;
  at++;
  space(bytes);
  return true;
}

const none = -1;
const other = -2;

/** A whole number; `none` of null. */
function countAt(bytes: Buffer): number {
  if (bytes[at] === 0x6e) {
    const isNull = bytes[at + 1] === 0x75 && bytes[at + 2] === 0x6c && bytes[at + 3] === 0x6c;
    at += 4;
    return isNull ? none : other;
  }
  const start = at;
  let count = 0;
  for (let digit = digitAt(bytes); digit >= 0; digit = digitAt(bytes)) {
    count = count * 10 + digit;
    at++;
  }
  const digits = at - start;
  if (digits === 0 || digits > digitsMax || (digits > 1 && bytes[start] === 0x30)) return other;
  return count;
}

function digitAt(bytes: Buffer): number {
  const byte = bytes[at];
  return byte !== undefined && byte >= 0x30 && byte <= 0x39 ? byte - 0x30 : -1;
}

/** Over a comma; false at anything else, which it is behind then. */
function goesOn(bytes: Buffer): boolean {
  space(bytes);
  return bytes[at++] === 0x2c;
}

function space(bytes: Buffer): void {
  for (let byte = bytes[at]; byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09; byte = bytes[at]) at++;
}

function same(bytes: Buffer, from: number, to: number, name: Buffer): boolean {
  if (to - from !== name.length) return false;
  for (let index = 0; index < name.length; index++) if (bytes[from + index] !== name[index]) return false;
  return true;
}
