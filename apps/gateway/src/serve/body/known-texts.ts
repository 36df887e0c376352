/** A text that stood in bytes, by those bytes. */
interface Known {
  readonly bytes: Buffer;
  readonly text: string;
}

/**
 * Short texts that come again and again, by their bytes: names of models, of users, of headers. The same bytes give the same string, whose hash is
 * known, with nothing made. Each place keeps the text read there last, so that nothing grows.
 */
export class KnownTexts {
  readonly #places: (Known | undefined)[] = Array.from({ length: places }, () => undefined);

  /** Undefined where it is not known, or too long to be kept. */
  find(bytes: Buffer, from: number, to: number): string | undefined {
    const length = to - from;
    if (length === 0 || length > lengthMax) return undefined;
    const known = this.#places[placeOf(bytes, from, to)];
    if (known === undefined || known.bytes.length !== length) return undefined;
    const kept = known.bytes;
    for (let at = 0; at < length; at++) if (kept[at] !== bytes[from + at]) return undefined;
    return known.text;
  }

  keep(bytes: Buffer, from: number, to: number, text: string): void {
    const length = to - from;
    if (length === 0 || length > lengthMax) return;
    this.#places[placeOf(bytes, from, to)] = { bytes: Buffer.from(bytes.subarray(from, to)), text };
  }
}

const places = 256;
const lengthMax = 64;

/** Texts of one kind often differ in their last characters and their length alone. */
function placeOf(bytes: Buffer, from: number, to: number): number {
  const last = bytes[to - 1] as number;
  const middle = bytes[(from + to) >> 1] as number;
  return (last * 31 + middle * 7 + (bytes[from] as number) + (to - from) * 5) & (places - 1);
}
