import { recordingLimits } from './limits.ts';

const Wire = {
  Varint: 0,
  Fixed64: 1,
  Bytes: 2,
  Fixed32: 5,
} as const;

/**
 * Protobuf's binary format into one buffer, as protobuf-es writes it: fields at their default are left out, lengths are minimal.
 * The caller asks for room first; nothing here checks it.
 */
export class WireWriter {
  readonly #bytes: Buffer;
  readonly #view: DataView;
  position = 0;

  constructor(readonly capacity: number) {
    this.#bytes = Buffer.alloc(capacity);
    this.#view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, capacity);
  }

  /** A copy of what was written. */
  take(): Buffer {
    return Buffer.from(this.#bytes.subarray(0, this.position));
  }

  written(): Buffer {
    return this.#bytes.subarray(0, this.position);
  }

  /** Integers in [0, 2⁵³). */
  varint(value: number): void {
    let rest = value;
    while (rest >= 0x80) {
      this.#bytes[this.position++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    this.#bytes[this.position++] = rest;
  }

  uint(field: number, value: number): void {
    if (value === 0) return;
    this.varint((field << 3) | Wire.Varint);
    this.varint(value);
  }

  flag(field: number, value: boolean): void {
    if (value) this.uint(field, 1);
  }

  fixed32(field: number, value: number): void {
    if (value === 0) return;
    this.varint((field << 3) | Wire.Fixed32);
    this.#view.setUint32(this.position, value, true);
    this.position += 4;
  }

  double(field: number, value: number): void {
    if (value !== 0) this.doubleAlways(field, value);
  }

  doubleAlways(field: number, value: number): void {
    this.varint((field << 3) | Wire.Fixed64);
    this.#view.setFloat64(this.position, value, true);
    this.position += 8;
  }

  text(field: number, value: string): void {
    if (value !== '') this.textAlways(field, value);
  }

  textAlways(field: number, value: string): void {
    this.varint((field << 3) | Wire.Bytes);
    const text =
      value.length > recordingLimits.textLengthMax
        ? value.slice(0, recordingLimits.textLengthMax).toWellFormed()
        : value;
    this.#utf8(text);
  }

  /** For texts of our own making, which are never cut. */
  wholeText(field: number, value: string): void {
    if (value === '') return;
    this.varint((field << 3) | Wire.Bytes);
    this.#utf8(value);
  }

  /** A message that somebody else encoded. */
  message(field: number, encoded: Uint8Array): void {
    this.varint((field << 3) | Wire.Bytes);
    this.varint(encoded.length);
    this.#bytes.set(encoded, this.position);
    this.position += encoded.length;
  }

  /** Whole fields that were encoded before. */
  raw(fields: Uint8Array): void {
    this.#bytes.set(fields, this.position);
    this.position += fields.length;
  }

  #utf8(text: string): void {
    const { length } = text;
    if (length < 128) {
      // Nearly every text is short ASCII: one byte of length, one byte each.
      const start = this.position + 1;
      let index = 0;
      for (; index < length; index++) {
        const code = text.charCodeAt(index);
        if (code >= 0x80) break;
        this.#bytes[start + index] = code;
      }
      if (index === length) {
        this.#bytes[this.position] = length;
        this.position = start + length;
        return;
      }
    }
    this.varint(Buffer.byteLength(text));
    this.position += this.#bytes.write(text, this.position);
  }

  doubles(field: number, values: readonly number[]): void {
    if (values.length === 0) return;
    this.varint((field << 3) | Wire.Bytes);
    this.varint(values.length * 8);
    for (let i = 0; i < values.length; i++, this.position += 8) {
      this.#view.setFloat64(this.position, values[i] as number, true);
    }
  }

  floats(field: number, values: readonly number[]): void {
    if (values.length === 0) return;
    this.varint((field << 3) | Wire.Bytes);
    this.varint(values.length * 4);
    for (let i = 0; i < values.length; i++, this.position += 4) {
      this.#view.setFloat32(this.position, values[i] as number, true);
    }
  }

  uints(field: number, values: readonly number[]): void {
    if (values.length === 0) return;
    const start = this.begin(field);
    for (let i = 0; i < values.length; i++) this.varint(values[i] as number);
    this.end(start);
  }

  /** Opens a message; `end` writes its length. */
  begin(field: number): number {
    this.varint((field << 3) | Wire.Bytes);
    return ++this.position;
  }

  end(start: number): void {
    const length = this.position - start;
    if (length < 0x80) {
      this.#bytes[start - 1] = length;
      return;
    }
    // One byte was kept for the length: move the message up by those that it needs more.
    const more = length < 0x4000 ? 1 : length < 0x200000 ? 2 : 3;
    this.#bytes.copyWithin(start + more, start, this.position);
    this.position = start - 1;
    this.varint(length);
    this.position += length;
  }
}
