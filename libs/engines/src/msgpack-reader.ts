import { isArray, isBytes, isMap, isText, lengthAt, lengthBytesOf, scalarBytes } from './msgpack-bounds.ts';

export class Misshapen extends Error {}

/** Short texts that come again and again are not made anew each time. */
const known = new Map<number, { readonly bytes: Uint8Array; readonly text: string }[]>();

/** Texts that `text()` is to answer without making them. */
export function expectTexts(texts: Iterable<string>): void {
  for (const text of texts) {
    const bytes = new Uint8Array(Buffer.from(text));
    const alike = known.get(bytes.length);
    if (alike === undefined) known.set(bytes.length, [{ bytes, text }]);
    else alike.push({ bytes, text });
  }
}

const two32 = 4294967296;

/** Reads values of a msgpack text one after another. The text must have passed `msgpackProblem`: lengths are believed here. */
export class MsgpackReader {
  at = 0;
  readonly #view: DataView;

  constructor(private readonly bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get head(): number {
    return this.bytes[this.at] as number;
  }

  get isNil(): boolean {
    return this.head === 0xc0;
  }

  /** Entries of the array here, of which the reader then stands before the first; -1 where there is none. */
  array(): number {
    return isArray(this.head) ? this.#length() : -1;
  }

  map(): number {
    return isMap(this.head) ? this.#length() : -1;
  }

  /** Undefined where there is none; then nothing is read. */
  text(): string | undefined {
    if (!isText(this.head)) return undefined;
    const length = this.#length();
    const from = this.at;
    this.at += length;
    const { bytes } = this;
    next: for (const one of known.get(length) ?? []) {
      for (let i = 0; i < length; i++) if (bytes[from + i] !== one.bytes[i]) continue next;
      return one.text;
    }
    return Buffer.from(bytes.buffer, bytes.byteOffset + from, length).toString('utf8');
  }

  /** Passes over values with all that is in them. */
  skip(count = 1): void {
    const { bytes } = this;
    for (let left = count; left > 0; left--) {
      const head = bytes[this.at] as number;
      const size = scalarBytes[head] as number;
      if (size > 0) this.at += size;
      else {
        const length = this.#length();
        if (isArray(head)) left += length;
        else if (isMap(head)) left += length * 2;
        else this.at += length;
      }
    }
  }

  /** A whole number ≥ 0 that a double holds. */
  count(name: string): number {
    const value = this.value();
    const number = typeof value === 'bigint' ? Number(value) : value;
    if (typeof number === 'number' && Number.isSafeInteger(number) && number >= 0) return number;
    throw new Misshapen(`${name} holds what is no count`);
  }

  /** Numbers of 32 bits. */
  counts(name: string): Uint32Array {
    const length = this.array();
    if (length < 0) throw new Misshapen(`${name} is no list`);
    const { bytes } = this;
    const out = new Uint32Array(length);
    let { at } = this;
    for (let i = 0; i < length; i++) {
      const head = bytes[at] as number;
      if (head < 0x80) {
        out[i] = head;
        at++;
      } else if (head === 0xcd) {
        out[i] = ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number);
        at += 3;
      } else if (head === 0xce) {
        out[i] = this.#word(at + 1);
        at += 5;
      } else if (head === 0xcc) {
        out[i] = bytes[at + 1] as number;
        at += 2;
      } else {
        this.at = at;
        const wide = this.count(name);
        if (wide >= two32) throw new Misshapen(`${name} holds ${wide}, more than 32 bits`);
        out[i] = wide;
        ({ at } = this);
      }
    }
    this.at = at;
    return out;
  }

  /** A list of hashes as `hash` reads them, two words each. */
  hashes(name: string): Uint32Array {
    const length = this.array();
    if (length < 0) throw new Misshapen(`${name} is no list`);
    const out = new Uint32Array(length * 2);
    for (let i = 0; i < length; i++) this.hash(out, i * 2);
    return out;
  }

  /** The last 64 bits of an integer, signed or not, or of bytes: the low word, then the high one. */
  hash(out: Uint32Array, place: number): void {
    const { head, at } = this;
    if (head === 0xcf || head === 0xd3) {
      out[place] = this.#word(at + 5);
      out[place + 1] = this.#word(at + 1);
      this.at = at + 9;
      return;
    }
    if (isBytes(head)) {
      const length = this.#length();
      if (length === 0 || length > 64) throw new Misshapen(`a hash of ${length} bytes`);
      const end = this.at + length;
      out[place] = this.#wordBefore(end, Math.min(4, length));
      out[place + 1] = length > 4 ? this.#wordBefore(end - 4, Math.min(4, length - 4)) : 0;
      this.at = end;
      return;
    }
    const value = this.value();
    if (typeof value !== 'number' || !Number.isSafeInteger(value)) {
      throw new Misshapen('a hash is neither integer nor bytes');
    }
    out[place] = value;
    out[place + 1] = Math.floor(value / two32);
  }

  /** Anything. Integers of 64 bits are bigints; the keys of maps are made texts, as nobody asks for others. */
  value(): unknown {
    const { head, at } = this;
    const view = this.#view;
    const size = scalarBytes[head] as number;
    if (size > 0) {
      this.at = at + size;
      if (head < 0x80) return head;
      if (head >= 0xe0) return head - 0x100;
      switch (head) {
        case 0xc2:
          return false;
        case 0xc3:
          return true;
        case 0xca:
          return view.getFloat32(at + 1);
        case 0xcb:
          return view.getFloat64(at + 1);
        case 0xcc:
          return view.getUint8(at + 1);
        case 0xcd:
          return view.getUint16(at + 1);
        case 0xce:
          return view.getUint32(at + 1);
        case 0xcf:
          return view.getBigUint64(at + 1);
        case 0xd0:
          return view.getInt8(at + 1);
        case 0xd1:
          return view.getInt16(at + 1);
        case 0xd2:
          return view.getInt32(at + 1);
        case 0xd3:
          return view.getBigInt64(at + 1);
        default:
          return null;
      }
    }
    const text = this.text();
    if (text !== undefined) return text;
    const length = this.#length();
    if (isBytes(head)) {
      this.at += length;
      return this.bytes.subarray(this.at - length, this.at);
    }
    if (isArray(head)) return Array.from({ length }, () => this.value());
    const map = new Map<string, unknown>();
    for (let i = 0; i < length; i++) map.set(String(this.value()), this.value());
    return map;
  }

  #length(): number {
    const { at, head } = this;
    const lengthBytes = lengthBytesOf(head);
    this.at = at + 1 + lengthBytes;
    return lengthAt(this.bytes, at, lengthBytes);
  }

  #word(at: number): number {
    const { bytes } = this;
    return (
      (((bytes[at] as number) << 24) |
        ((bytes[at + 1] as number) << 16) |
        ((bytes[at + 2] as number) << 8) |
        (bytes[at + 3] as number)) >>>
      0
    );
  }

  #wordBefore(end: number, count: number): number {
    let word = 0;
    for (let at = end - count; at < end; at++) word = (word << 8) | (this.bytes[at] as number);
    return word;
  }
}
