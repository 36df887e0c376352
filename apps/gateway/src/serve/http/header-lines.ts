import { lowerName } from './syntax.ts';

/** A header of answers, with the lines last written of it. */
export class HeaderLines {
  /** In lower case where it bears on the head that it stands in; '' else. */
  readonly role: string;
  readonly #values: string[] = [];
  readonly #lines: string[] = [];

  constructor(
    private readonly name: string,
    lower: string,
  ) {
    this.role = roles.has(lower) ? lower : '';
  }

  /** "name: value\r\n"; '' where the value cannot be sent. */
  lineOf(value: string): string {
    const { length } = value;
    if (length === 0 || length > keptLengthMax) return this.#made(value);
    // Values of one header often differ in their last character: replicas' names above all.
    const slot = (value.charCodeAt(length - 1) + length) & (slots - 1);
    if (this.#values[slot] === value) return this.#lines[slot] as string;
    const line = this.#made(value);
    while (this.#values.length <= slot) {
      this.#values.push('');
      this.#lines.push('');
    }
    if (line !== '') {
      this.#values[slot] = value;
      this.#lines[slot] = line;
    }
    return line;
  }

  #made(value: string): string {
    return sound(value) ? `${this.name}: ${value}\r\n` : '';
  }
}

const roles = new Set(['date', 'connection', 'content-length']);

const slots = 16;
/** Ids of requests are longer, and come once. */
const keptLengthMax = 32;
const namesMax = 256;
const nameLengthMax = 64;
const known = new Map<string, HeaderLines>();

/** Undefined where the name is none. Names come again and again, and most values too: what was made of them is kept, of so many. */
export function linesOf(name: string): HeaderLines | undefined {
  const before = known.get(name);
  if (before !== undefined) return before;
  const lower = lowerName(name);
  if (lower === '') return undefined;
  const made = new HeaderLines(name, lower);
  if (name.length <= nameLengthMax && known.size < namesMax) known.set(name, made);
  return made;
}

/** Characters beyond a byte would become others, a line end perhaps. */
function sound(value: string): boolean {
  for (let at = 0; at < value.length; at++) {
    const code = value.charCodeAt(at);
    if ((code < 0x20 && code !== 0x09) || code === 0x7f || code > 0xff) return false;
  }
  return true;
}
