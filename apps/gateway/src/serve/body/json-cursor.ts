import { isDigit, isEscape, isHex, stringClass } from './chars.ts';
import { KnownTexts } from './known-texts.ts';

const nothing = Buffer.alloc(0);
const names = new KnownTexts();

/**
 * Walks JSON of RFC 8259 over valid UTF-8 without building values. Each step answers false at the first byte that does not fit,
 * with `at` there.
 */
export class JsonCursor {
  at = 0;
  tooDeep = false;
  /** The last string held a backslash. */
  escaped = false;
  #body: Buffer = nothing;
  /** 1 for each open object, 0 for each open array. */
  readonly #kinds: Uint8Array;

  constructor(readonly depthMax: number) {
    this.#kinds = new Uint8Array(depthMax + 1);
  }

  get length(): number {
    return this.#body.length;
  }

  open(body: Buffer): void {
    this.#body = body;
    this.at = 0;
    this.tooDeep = false;
  }

  /** Forgets the body, so that it can be freed. */
  close(): void {
    this.#body = nothing;
  }

  /** One value and nothing after it. */
  whole(): boolean {
    this.space();
    if (!this.value(0)) return false;
    this.space();
    return this.at === this.#body.length;
  }

  space(): void {
    const body = this.#body;
    let { at } = this;
    for (;;) {
      const byte = body[at];
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) break;
      at++;
    }
    this.at = at;
  }

  /** The text of a string between its quotes' positions; it was walked before. */
  text(start: number, end: number): string {
    const body = this.#body;
    for (let at = start + 1; at < end - 1; at++) {
      if (body[at] === 0x5c) return JSON.parse(body.toString('utf8', start, end)) as string;
    }
    return body.toString('utf8', start + 1, end - 1);
  }

  /** The same of a name that many requests bear. Not of secrets: it is remembered. */
  name(start: number, end: number): string {
    const body = this.#body;
    const before = names.find(body, start, end);
    if (before !== undefined) return before;
    const text = this.text(start, end);
    names.keep(body, start, end, text);
    return text;
  }

  string(): boolean {
    const body = this.#body;
    const { length } = body;
    let { at } = this;
    this.escaped = false;
    if (body[at] !== 0x22) return false;
    at++;
    while (at < length) {
      const kind = stringClass[body[at] as number] as number;
      if (kind === 0) {
        at++;
        continue;
      }
      if (kind === 1) {
        this.at = at + 1;
        return true;
      }
      if (kind === 3) break;
      this.escaped = true;
      const letter = body[at + 1];
      if (letter === undefined) {
        at = length;
        break;
      }
      if (isEscape[letter] === 0) break;
      at += 2;
      if (letter !== 0x75) continue;
      for (let digit = 0; digit < 4; digit++, at++) {
        if (at >= length || isHex[body[at] as number] === 0) {
          this.at = at;
          return false;
        }
      }
    }
    this.at = at;
    return false;
  }

  /** A value that starts at `at`, inside so many open ones. */
  value(outer: number): boolean {
    const body = this.#body;
    const kinds = this.#kinds;
    let depth = outer;
    for (;;) {
      // Here a value begins.
      const byte = body[this.at];
      if (byte === 0x7b || byte === 0x5b) {
        if (depth === this.depthMax) {
          this.tooDeep = true;
          return false;
        }
        const object = byte === 0x7b;
        this.at++;
        this.space();
        if (body[this.at] === (object ? 0x7d : 0x5d)) this.at++;
        else {
          kinds[++depth] = object ? 1 : 0;
          if (object && !this.#key()) return false;
          continue;
        }
      } else if (byte === 0x22) {
        if (!this.string()) return false;
      } else if (!this.#scalar(byte)) return false;
      // Here a value has ended: close what it ends, or go to the next one beside it.
      for (;;) {
        if (depth === outer) return true;
        this.space();
        const next = body[this.at];
        const object = kinds[depth] === 1;
        if (next === 0x2c) {
          this.at++;
          this.space();
          if (object && !this.#key()) return false;
          break;
        }
        if (next !== (object ? 0x7d : 0x5d)) return false;
        this.at++;
        depth--;
      }
    }
  }

  #key(): boolean {
    if (!this.string()) return false;
    this.space();
    if (this.#body[this.at] !== 0x3a) return false;
    this.at++;
    this.space();
    return true;
  }

  #scalar(byte: number | undefined): boolean {
    if (byte === 0x74) return this.#word('true');
    if (byte === 0x66) return this.#word('false');
    if (byte === 0x6e) return this.#word('null');
    return this.#number();
  }

  #word(text: string): boolean {
    for (let index = 0; index < text.length; index++) {
      if (this.#body[this.at] !== text.charCodeAt(index)) return false;
      this.at++;
    }
    return true;
  }

  #number(): boolean {
    const body = this.#body;
    if (body[this.at] === 0x2d) this.at++;
    if (body[this.at] === 0x30) this.at++;
    else if (!this.#digits()) return false;
    if (body[this.at] === 0x2e) {
      this.at++;
      if (!this.#digits()) return false;
    }
    const exponent = body[this.at];
    if (exponent === 0x65 || exponent === 0x45) {
      this.at++;
      const sign = body[this.at];
      if (sign === 0x2b || sign === 0x2d) this.at++;
      if (!this.#digits()) return false;
    }
    return true;
  }

  #digits(): boolean {
    const body = this.#body;
    const start = this.at;
    while (this.at < body.length && isDigit(body[this.at] as number)) this.at++;
    return this.at > start;
  }
}
