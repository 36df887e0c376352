import type { ColumnKind, JsonValue, Value } from './table.ts';

const escapedNul = /\0/g;

/** Postgres stores no NUL and no half of a surrogate pair; users send both. Replaced by U+FFFD, as decoders of text do. */
export function cleanText(text: string): string {
  return isClean(text) ? text : text.toWellFormed().replace(escapedNul, '\uFFFD');
}

function isClean(text: string): boolean {
  return text.isWellFormed() && !text.includes('\0');
}

/** JSON with clean texts and names; the same object where it was clean already. */
export function cleanJson(value: JsonValue): JsonValue {
  if (typeof value === 'string') return isClean(value) ? value : cleanText(value);
  if (typeof value === 'number') return Number.isFinite(value) ? value : null;
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      if (cleanJson(value[index] as JsonValue) !== value[index]) return value.map(cleanJson);
    }
    return value;
  }
  for (const name in value) {
    if (!isClean(name) || cleanJson(value[name] as JsonValue) !== value[name]) {
      return Object.fromEntries(Object.entries(value).map(([inner, of]) => [cleanText(inner), cleanJson(of)]));
    }
  }
  return value;
}

const intMax = Number.MAX_SAFE_INTEGER;
/** Postgres' timestamps reach further; what lies beyond this is no time that a machine of ours has seen. */
const timeMsMax = Date.UTC(9999, 0, 1);

/** A value as the table will give it back, so that a recomputed row compares equal to a stored one. */
export function normalize(kind: ColumnKind, value: Value | undefined): Value {
  if (value === null || value === undefined) return null;
  switch (kind) {
    case 'text':
      return cleanText(String(value));
    case 'json':
      return cleanJson(value as JsonValue);
    case 'int':
      return typeof value === 'number' && Number.isFinite(value)
        ? Math.max(-intMax, Math.min(intMax, Math.trunc(value)))
        : null;
    case 'time':
      return typeof value === 'number' && value >= 0 && value < timeMsMax ? Math.trunc(value) : null;
    case 'float':
      return typeof value === 'number' && Number.isFinite(value) ? value + 0 : null;
    case 'bool':
    case 'bytes':
      return value;
  }
}
