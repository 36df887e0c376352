import { isUtf8 } from 'node:buffer';
import type { BodyProblem } from './body-scanner.ts';

export interface FormLimits {
  readonly formPartsMax: number;
  /** Of one part. */
  readonly formHeaderBytesMax: number;
  readonly modelBytesMax: number;
}

const problem = (code: string, message: string, param: string | null = null): BodyProblem => ({ code, message, param });
const malformed = (what: string): BodyProblem =>
  problem('invalid_multipart', `The form is not well-formed multipart/form-data: ${what}. Correct it.`);

const enum State {
  Start,
  Headers,
  Field,
  File,
  Delimited,
  Ended,
}

const headersEnd = Buffer.from('\r\n\r\n');
const crlf = 0x0d0a;
const dashes = 0x2d2d;
const nothing: Buffer = Buffer.alloc(0);
/** RFC 2046 allows 70 characters of these. */
const boundaryForm = /^multipart\/form-data\s*((?:;\s*[!#-'*+.^_`|~\w-]+\s*=\s*(?:"[^"\\\r\n]*"|[^\s;"\\]+)\s*)+);?$/i;
const boundaryChars = /^[\w'()+,./:=? -]{1,70}$/;
const parameter = /;\s*([!#-'*+.^_`|~\w-]+)\s*=\s*(?:"([^"\\\r\n]*)"|([^\s;"\\]+))\s*/g;
const disposition = /^form-data((?:\s*;\s*[\w*-]+\s*=\s*(?:"[^"\\\r\n]*"|[^\s;"\\]+))+)\s*$/i;

export const formCut = {
  code: 'invalid_multipart',
  message: 'The form ends before its last boundary. Send all of it.',
  param: null,
};

/** The boundary of a form's content-type; undefined where it is no form, or its boundary could be read in two ways. */
export function boundaryOf(contentType: string): string | undefined {
  const form = boundaryForm.exec(contentType.trim());
  if (form === null) return undefined;
  const found = [...(form[1] ?? '').matchAll(parameter)].filter(([, name]) => name?.toLowerCase() === 'boundary');
  const boundary = found[0]?.[2] ?? found[0]?.[3] ?? '';
  return found.length === 1 && boundaryChars.test(boundary) && !boundary.endsWith(' ') ? boundary : undefined;
}

/**
 * Reads `model` and `stream` of a multipart form as its bytes pass, whatever the order of the parts. Strict: whatever another parser
 * could read otherwise is refused, a second `model` above all. Keeps a part's headers, one field's value, and of a file the few bytes
 * that may begin a delimiter.
 */
export class FormScanner {
  /** '' until its part has passed. */
  model = '';
  /** Its bytes, counted from the form's first. */
  modelStart = 0;
  modelEnd = 0;
  stream = false;
  /** Bytes that came before this chunk. */
  #before = 0;
  /** Of the first byte that is looked at now. */
  #at = 0;
  #state = State.Start;
  #held = nothing;
  #field = '';
  #modelSeen = false;
  #streamSeen = false;
  #parts = 0;
  readonly #delimiter: Buffer;

  constructor(
    boundary: string,
    private readonly limits: FormLimits,
  ) {
    this.#delimiter = Buffer.from(`\r\n--${boundary}`, 'latin1');
  }

  /** The last delimiter has come. */
  get ended(): boolean {
    return this.#state === State.Ended;
  }

  /** What is wrong with the form, as far as it came. Copies what it keeps. */
  feed(chunk: Buffer): BodyProblem | undefined {
    let bytes = this.#joined(chunk);
    this.#at = this.#before + chunk.length - bytes.length;
    this.#before += chunk.length;
    for (;;) {
      const used = this.#step(bytes);
      if (typeof used !== 'number') return used;
      if (used < 0) {
        this.#held = Buffer.from(bytes);
        return undefined;
      }
      bytes = bytes.subarray(used);
      this.#at += used;
      if (bytes.length === 0) return undefined;
    }
  }

  /** What was held and what came. Between chunks of a file only their seam is put together. */
  #joined(chunk: Buffer): Buffer {
    const held = this.#held;
    const { length } = this.#delimiter;
    this.#held = nothing;
    if (held.length === 0) return chunk;
    if (this.#state === State.File && chunk.length >= length) {
      const seam = Buffer.concat([held, chunk.subarray(0, length)]);
      if (!seam.includes(this.#delimiter)) return chunk;
    }
    return Buffer.concat([held, chunk]);
  }

  /** Bytes done with; -1 where more must come first. */
  #step(bytes: Buffer): number | BodyProblem {
    switch (this.#state) {
      case State.Start: {
        const first = this.#delimiter.subarray(2);
        const { length } = first;
        if (bytes.compare(first, 0, Math.min(length, bytes.length), 0, Math.min(length, bytes.length)) !== 0) {
          return malformed('it does not begin with its boundary');
        }
        if (bytes.length < length) return -1;
        this.#state = State.Delimited;
        return length;
      }
      case State.Delimited:
        return this.#delimited(bytes);
      case State.Headers:
        return this.#headers(bytes);
      case State.Field:
        return this.#value(bytes);
      case State.File: {
        const at = bytes.indexOf(this.#delimiter);
        if (at >= 0) {
          this.#state = State.Delimited;
          return at + this.#delimiter.length;
        }
        return bytes.length < this.#delimiter.length ? -1 : bytes.length - this.#delimiter.length + 1;
      }
      case State.Ended:
        for (const byte of bytes)
          if (byte !== 0x0d && byte !== 0x0a) return malformed('something stands after its end');
        return bytes.length;
    }
  }

  #delimited(bytes: Buffer): number | BodyProblem {
    if (bytes.length < 2) return -1;
    const next = bytes.readUInt16BE(0);
    if (next === dashes) {
      this.#state = State.Ended;
      return 2;
    }
    if (next !== crlf) return malformed('a boundary is followed by neither a line end nor "--"');
    if (++this.#parts > this.limits.formPartsMax) return malformed(`it has over ${this.limits.formPartsMax} parts`);
    this.#state = State.Headers;
    return 2;
  }

  #headers(bytes: Buffer): number | BodyProblem {
    const end = bytes.indexOf(headersEnd);
    if ((end < 0 ? bytes.length : end) > this.limits.formHeaderBytesMax) {
      return malformed(`a part has over ${this.limits.formHeaderBytesMax} bytes of headers`);
    }
    if (end < 0) return -1;
    const named = partName(bytes.toString('latin1', 0, end));
    if (typeof named !== 'string') return named;
    if (named !== 'model' && named !== 'stream') this.#state = State.File;
    else if (named === 'model' ? this.#modelSeen : this.#streamSeen) {
      return problem('duplicate_field', `"${named}" stands twice in the form. Name it once.`, named);
    } else {
      if (named === 'model') this.#modelSeen = true;
      else this.#streamSeen = true;
      this.#field = named;
      this.#state = State.Field;
    }
    return end + 4;
  }

  #value(bytes: Buffer): number | BodyProblem {
    const at = bytes.indexOf(this.#delimiter);
    const most = this.limits.modelBytesMax;
    if (at > most || (at < 0 && bytes.length > most + this.#delimiter.length)) {
      return problem('invalid_model', `"${this.#field}" is longer than ${most} bytes.`, this.#field);
    }
    if (at < 0) return -1;
    const value = bytes.subarray(0, at);
    this.#state = State.Delimited;
    if (!isUtf8(value)) return problem('invalid_utf8', `"${this.#field}" is not valid UTF-8.`, this.#field);
    const text = value.toString('utf8');
    if (this.#field === 'stream') this.stream = /^(?:true|1|yes|on)$/i.test(text);
    else if (text === '') return problem('missing_model', '"model" is empty. Name one of GET /v1/models.', 'model');
    else {
      this.model = text;
      this.modelStart = this.#at;
      this.modelEnd = this.#at + at;
    }
    return at + this.#delimiter.length;
  }
}

/** The name of a part by its headers. */
function partName(text: string): string | BodyProblem {
  let name: string | undefined;
  let encoded = false;
  for (const line of text.split('\r\n')) {
    const header = /^([!#-'*+.^_`|~\w-]+):[ \t]*([^\r\n\0]*)$/.exec(line);
    if (header === null) return malformed('a header of a part is none');
    const lower = (header[1] as string).toLowerCase();
    const value = (header[2] as string).trim();
    if (lower === 'content-transfer-encoding') encoded ||= !/^(?:7bit|8bit|binary)$/i.test(value);
    if (lower !== 'content-disposition') continue;
    const found = disposition.exec(value);
    if (name !== undefined || found === null) return malformed('a part says not once what it is');
    for (const [, key = '', quoted, token] of (found[1] ?? '').matchAll(parameter)) {
      const known = key.toLowerCase();
      if (known === 'name*') return malformed('a part’s name is encoded');
      if (known !== 'name') continue;
      if (name !== undefined) return malformed('a part is named twice');
      name = quoted ?? token ?? '';
    }
  }
  if (name === undefined) return malformed('a part has no name');
  return encoded ? malformed('a part is encoded for transfer') : name;
}
