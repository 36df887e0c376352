import { JsonCursor } from '../body/json-cursor.ts';

/** Where a member of a JSON object has its value. */
export interface Place {
  readonly start: number;
  readonly end: number;
}

/** Members of an object by name, all of each name: engines may read the last where others read the first. */
export interface BodyFields {
  readonly json: Buffer;
  /** Of the opening brace. */
  readonly objectStart: number;
  readonly empty: boolean;
  readonly places: ReadonlyMap<string, readonly Place[]>;
}

/** One change: the bytes between `start` and `end` become `text`. */
export interface Edit {
  readonly start: number;
  readonly end: number;
  readonly text: string | Buffer;
}

const depthMax = 256;
const cursor = new JsonCursor(depthMax);

/** Members with one of these names; undefined where it is no JSON object. */
export function fieldsOf(json: Buffer, names: ReadonlySet<string>): BodyFields | undefined {
  cursor.open(json);
  try {
    cursor.space();
    const objectStart = cursor.at;
    if (json[objectStart] !== 0x7b) return undefined;
    cursor.at++;
    cursor.space();
    const places = new Map<string, Place[]>();
    if (json[cursor.at] === 0x7d) return { json, objectStart, empty: true, places };
    for (;;) {
      const key = cursor.at;
      if (!cursor.string()) return undefined;
      const name = cursor.text(key, cursor.at);
      cursor.space();
      if (json[cursor.at] !== 0x3a) return undefined;
      cursor.at++;
      cursor.space();
      const start = cursor.at;
      if (!cursor.value(1)) return undefined;
      if (names.has(name)) places.set(name, [...(places.get(name) ?? []), { start, end: cursor.at }]);
      cursor.space();
      const next = json[cursor.at];
      if (next === 0x7d) return { json, objectStart, empty: false, places };
      if (next !== 0x2c) return undefined;
      cursor.at++;
      cursor.space();
    }
  } finally {
    cursor.close();
  }
}

/** The raw value of the last member of that name; undefined where there is none, or null. */
export function rawOf({ json, places }: BodyFields, name: string): Buffer | undefined {
  const place = places.get(name)?.at(-1);
  if (place === undefined) return undefined;
  const raw = json.subarray(place.start, place.end);
  return raw.length === 4 && raw.toString('latin1') === 'null' ? undefined : raw;
}

/** What makes a member say this: its value is replaced wherever it stands, else it is put in front of all others. */
export function setTo({ places, objectStart, empty }: BodyFields, name: string, text: string | Buffer): Edit[] {
  const found = places.get(name);
  if (found !== undefined) return found.map(({ start, end }) => ({ start, end, text }));
  const at = objectStart + 1;
  const before = Buffer.from(`${JSON.stringify(name)}:`);
  const after = Buffer.from(empty ? '' : ',');
  return [{ start: at, end: at, text: Buffer.concat([before, Buffer.from(text), after]) }];
}

/** The same, but only where the member is there. */
export const setWhereSaid = (fields: BodyFields, name: string, text: string): Edit[] =>
  fields.places.has(name) ? setTo(fields, name, text) : [];

/** All other bytes stay as they are. Edits do not overlap. */
export function edited(json: Buffer, edits: readonly Edit[]): Buffer {
  const parts: Buffer[] = [];
  let at = 0;
  for (const { start, end, text } of [...edits].sort((a, b) => a.start - b.start)) {
    parts.push(json.subarray(at, start), Buffer.from(text));
    at = end;
  }
  parts.push(json.subarray(at));
  return Buffer.concat(parts);
}
