import type { RequestHead } from './request-head.ts';
import { readHead } from './request-head.ts';
import { headEnd, hexValue, isToken, latin1 } from './syntax.ts';

/** What parsed requests are told to. Chunks of the body are views of the bytes fed: copy what must outlive the call. */
export interface RequestSink {
  onHead(head: RequestHead): void;
  onBody(chunk: Buffer): void;
  /** The request is whole. */
  onEnd(): void;
}

export interface RequestParserLimits {
  readonly clientHeadBytesMax: number;
  readonly clientHeadersMax: number;
}

/** Why nothing more can be read. */
export type Problem = 'malformed' | 'headers-large' | 'extensions-large';

const enum State {
  Head,
  /** All is read; `onEnd` is due. */
  End,
  Length,
  ChunkSize,
  ChunkData,
  ChunkEnd,
  Trailers,
  Broken,
}

/** Bytes of a chunk's size line, and of all trailers: neither carries anything that we pass on. */
const sizeLineBytesMax = 256;
const trailerBytesMax = 8 * 1024;
const chunkDigitsMax = 8;
/** Empty lines before a request that old clients send behind a body. */
const emptyLinesMax = 4;
const noBytes: Buffer = Buffer.alloc(0);
const cr = 0x0d;
const lf = 0x0a;

/** HTTP/1 requests from a byte stream, one after another, strictly: what could be read in two ways is refused, everything is bounded. */
export class RequestParser {
  problem: Problem | undefined;
  /** Set by the sink: nothing more is told until `feed` is called again, with the bytes that were left. */
  stopped = false;
  #state = State.Head;
  #held: Buffer | undefined;
  /** Held bytes of a head in which its end was looked for. */
  #searched = 0;
  #left = 0;
  #trailerBytes = 0;
  #emptyLines = 0;
  #bytes = noBytes;
  #headAt = 0;
  #headEnd = 0;
  readonly #limits: RequestParserLimits;

  constructor(limits: RequestParserLimits) {
    this.#limits = limits;
  }

  get broken(): boolean {
    return this.#state === State.Broken;
  }

  /** No byte of a request has come since the last one. */
  get idle(): boolean {
    return this.#state === State.Head && this.#held === undefined;
  }

  /** Answers how many of these bytes are done with: all, unless it was stopped or is broken. */
  feed(input: Buffer, sink: RequestSink): number {
    let bytes = input;
    const heldBefore = this.#held?.length ?? 0;
    if (this.#held !== undefined) {
      bytes = Buffer.concat([this.#held, input]);
      this.#held = undefined;
    }
    this.stopped = false;
    let at = 0;
    while ((at < bytes.length || this.#state === State.End) && !this.stopped) {
      switch (this.#state) {
        case State.Head:
          at = this.#head(bytes, at, sink);
          break;
        case State.End:
          this.#state = State.Head;
          sink.onEnd();
          break;
        case State.Length:
        case State.ChunkData:
          at = this.#data(bytes, at, sink);
          break;
        case State.ChunkSize:
          at = this.#chunkSize(bytes, at);
          break;
        case State.ChunkEnd:
          at = this.#chunkEnd(bytes, at);
          break;
        case State.Trailers:
          at = this.#trailers(bytes, at);
          break;
        default:
          return at - heldBefore;
      }
      if (this.#held !== undefined) return input.length;
    }
    return at - heldBefore;
  }

  /** Inside `onHead`: a copy of all bytes from the head's first one on. */
  fromHead(): Buffer {
    return Buffer.from(this.#bytes.subarray(this.#headAt));
  }

  /** Inside `onHead`: a copy of what follows the head. */
  behindHead(): Buffer {
    return Buffer.from(this.#bytes.subarray(this.#headEnd));
  }

  #fail(problem: Problem, at: number): number {
    this.#state = State.Broken;
    this.problem = problem;
    return at;
  }

  #hold(bytes: Buffer, at: number): number {
    this.#held = Buffer.from(bytes.subarray(at));
    return bytes.length;
  }

  #head(bytes: Buffer, from: number, sink: RequestSink): number {
    let at = from;
    if (this.#searched === 0) {
      while (bytes[at] === cr && bytes[at + 1] === lf && this.#emptyLines < emptyLinesMax) {
        this.#emptyLines++;
        at += 2;
      }
      if (at === bytes.length) return at;
      if (bytes[at] === cr && at + 1 === bytes.length && this.#emptyLines < emptyLinesMax) return this.#hold(bytes, at);
      // Another protocol is told from its first byte.
      if (!isToken(bytes[at] as number)) return this.#fail('malformed', at);
    }
    const searchFrom = at + Math.max(0, this.#searched - 3);
    const end = headEnd(bytes, searchFrom);
    if ((end < 0 ? bytes.length : end) - at > this.#limits.clientHeadBytesMax) {
      return this.#fail('headers-large', at);
    }
    if (end < 0) {
      // A head of bare line feeds would never end.
      for (let line = bytes.indexOf(lf, searchFrom); line >= 0; line = bytes.indexOf(lf, line + 1)) {
        if (line === at || bytes[line - 1] !== cr) return this.#fail('malformed', at);
      }
      this.#searched = bytes.length - at;
      return this.#hold(bytes, at);
    }
    this.#searched = 0;
    this.#emptyLines = 0;
    const head = readHead(latin1(bytes, at, end), this.#limits.clientHeadersMax);
    if (head === 'malformed') return this.#fail('malformed', at);
    if (head === 'large') return this.#fail('headers-large', at);
    if (head.chunked) this.#state = State.ChunkSize;
    else if (head.contentLength <= 0) this.#state = State.End;
    else {
      this.#state = State.Length;
      this.#left = head.contentLength;
    }
    this.#trailerBytes = 0;
    this.#bytes = bytes;
    this.#headAt = at;
    this.#headEnd = end + 4;
    sink.onHead(head);
    this.#bytes = noBytes;
    return end + 4;
  }

  #data(bytes: Buffer, at: number, sink: RequestSink): number {
    const here = Math.min(bytes.length - at, this.#left);
    this.#left -= here;
    const ends = this.#left === 0;
    if (ends) this.#state = this.#state === State.Length ? State.End : State.ChunkEnd;
    sink.onBody(at === 0 && here === bytes.length ? bytes : bytes.subarray(at, at + here));
    return at + here;
  }

  #chunkSize(bytes: Buffer, at: number): number {
    const end = bytes.indexOf(lf, at);
    if (end < 0 || end - at > sizeLineBytesMax) {
      if (bytes.length - at > sizeLineBytesMax) return this.#fail('extensions-large', at);
      // What can be no size is told at once.
      return hexValue(bytes[at] as number) < 0 ? this.#fail('malformed', at) : this.#hold(bytes, at);
    }
    let size = 0;
    let digit = at;
    for (; digit < end; digit++) {
      const value = hexValue(bytes[digit] as number);
      if (value < 0) break;
      size = size * 16 + value;
    }
    const digits = digit - at;
    const last = end - 1;
    let sound = digits > 0 && digits <= chunkDigitsMax && bytes[last] === cr && digit <= last;
    // An extension begins with ';' and says nothing to us; a carriage return inside it could end the line for others.
    sound &&= digit === last || bytes[digit] === 0x3b;
    for (let each = digit; sound && each < last; each++) {
      const byte = bytes[each] as number;
      sound = byte === 0x09 || (byte >= 0x20 && byte !== 0x7f);
    }
    if (!sound) return this.#fail('malformed', at);
    this.#left = size;
    this.#state = size === 0 ? State.Trailers : State.ChunkData;
    return end + 1;
  }

  #chunkEnd(bytes: Buffer, at: number): number {
    if (bytes[at] !== cr || (at + 1 < bytes.length && bytes[at + 1] !== lf)) return this.#fail('malformed', at);
    if (at + 1 === bytes.length) return this.#hold(bytes, at);
    this.#state = State.ChunkSize;
    return at + 2;
  }

  #trailers(bytes: Buffer, at: number): number {
    const end = bytes.indexOf(lf, at);
    const length = (end < 0 ? bytes.length : end) - at;
    if (this.#trailerBytes + length > trailerBytesMax) return this.#fail('headers-large', at);
    if (end < 0) return this.#hold(bytes, at);
    this.#trailerBytes += length;
    if (end === at || bytes[end - 1] !== cr) return this.#fail('malformed', at);
    if (end === at + 1) this.#state = State.End;
    else if (!soundTrailer(bytes, at, end - 1)) return this.#fail('malformed', at);
    return end + 1;
  }
}

/** "name: value" without control characters. */
function soundTrailer(bytes: Buffer, from: number, to: number): boolean {
  let at = from;
  while (at < to && isToken(bytes[at] as number)) at++;
  if (at === from || at === to || bytes[at] !== 0x3a) return false;
  for (; at < to; at++) {
    const byte = bytes[at] as number;
    if ((byte < 0x20 && byte !== 0x09) || byte === 0x7f) return false;
  }
  return true;
}
