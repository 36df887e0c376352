import { cleanValue, headEnd, hexValue, isBlank, latin1, nameAt, nameEnd } from '../http/syntax.ts';

/** What a parsed answer is told to. Chunks of the body are views of the bytes fed: copy what must outlive the call. */
export interface ResponseSink {
  /** `headers`: name, value, name, value … as sent. */
  onHead(status: number, reason: string, headers: readonly string[]): void;
  onBody(chunk: Buffer): void;
  onEnd(): void;
}

export interface ParserLimits {
  readonly upstreamHeadBytesMax: number;
  readonly upstreamHeadersMax: number;
}

/** How the body ends. */
type Framing = 'none' | 'length' | 'chunked' | 'close';

const enum State {
  Head,
  Length,
  UntilClose,
  ChunkSize,
  ChunkData,
  ChunkEnd,
  Trailers,
  Done,
  Broken,
}

/** Bytes of a chunk's size line, and of all trailers: neither carries anything that we pass on. */
const sizeLineBytesMax = 256;
const trailerBytesMax = 8 * 1024;
const informationalMax = 8;
const chunkDigitsMax = 8;

/**
 * HTTP/1 answers from a byte stream, strictly: what could be read in two ways is refused, and everything is bounded. One for each
 * connection, `next` before each request.
 */
export class ResponseParser {
  /** Why it is broken. */
  problem = '';
  /** The connection may serve another request after this answer. */
  keepAlive = false;
  /** Seconds from `keep-alive: timeout=…`; 0 is not said. */
  keepAliveS = 0;
  #state = State.Done;
  #held: Buffer | undefined;
  #left = 0;
  #trailerBytes = 0;
  #informational = 0;
  readonly #limits: ParserLimits;

  constructor(limits: ParserLimits) {
    this.#limits = limits;
  }

  get done(): boolean {
    return this.#state === State.Done;
  }

  get broken(): boolean {
    return this.#state === State.Broken;
  }

  /** True until the head of the answer is whole. */
  get inHead(): boolean {
    return this.#state === State.Head;
  }

  /** Some bytes of the head have come. */
  get started(): boolean {
    return this.#state !== State.Head || this.#held !== undefined || this.#informational > 0;
  }

  next(): void {
    this.#state = State.Head;
    this.#held = undefined;
    this.#informational = 0;
    this.#trailerBytes = 0;
    this.keepAlive = false;
    this.keepAliveS = 0;
    this.problem = '';
  }

  /** Answers how many bytes belong to the answer; what is left over after `done` is a fault of the engine. */
  feed(input: Buffer, sink: ResponseSink): number {
    let bytes = input;
    const heldBefore = this.#held?.length ?? 0;
    if (this.#held !== undefined) {
      bytes = Buffer.concat([this.#held, input]);
      this.#held = undefined;
    }
    let at = 0;
    while (at < bytes.length) {
      const before = at;
      switch (this.#state) {
        case State.Head:
          at = this.#head(bytes, at, sink);
          break;
        case State.Length:
        case State.ChunkData:
          at = this.#data(bytes, at, sink);
          break;
        case State.UntilClose:
          sink.onBody(at === 0 ? bytes : bytes.subarray(at));
          at = bytes.length;
          break;
        case State.ChunkSize:
          at = this.#chunkSize(bytes, at);
          break;
        case State.ChunkEnd:
          at = this.#chunkEnd(bytes, at);
          break;
        case State.Trailers:
          at = this.#trailers(bytes, at, sink);
          break;
        default:
          return at - heldBefore;
      }
      if (this.#held !== undefined) return input.length;
      if (at === before && this.broken) break;
    }
    return at - heldBefore;
  }

  /** The engine closed. True where that ends the answer as it should. */
  finish(sink: ResponseSink): boolean {
    if (this.#state === State.UntilClose) {
      this.#state = State.Done;
      sink.onEnd();
      return true;
    }
    return this.#state === State.Done;
  }

  #fail(problem: string): void {
    this.#state = State.Broken;
    this.problem = problem;
  }

  #hold(bytes: Buffer, at: number): number {
    this.#held = Buffer.from(bytes.subarray(at));
    return bytes.length;
  }

  #head(bytes: Buffer, at: number, sink: ResponseSink): number {
    const end = headEnd(bytes, at);
    const length = (end < 0 ? bytes.length : end) - at;
    if (length > this.#limits.upstreamHeadBytesMax) {
      this.#fail(`headers of over ${this.#limits.upstreamHeadBytesMax} bytes`);
      return at;
    }
    if (end < 0) {
      // Garbage is told from its first bytes, not after the last that fits.
      if (!looksLikeHttp(bytes, at)) this.#fail('an answer that is not HTTP/1');
      else return this.#hold(bytes, at);
      return at;
    }
    this.#readHead(latin1(bytes, at, end), sink);
    return this.#state === State.Broken ? at : end + 4;
  }

  #readHead(text: string, sink: ResponseSink): void {
    let lineEnd = text.indexOf('\r\n');
    if (lineEnd < 0) lineEnd = text.length;
    // "HTTP/1.1 200 OK"
    const version = text.charCodeAt(7);
    const status = Number(text.slice(9, 12));
    if (
      !text.startsWith('HTTP/1.') ||
      (version !== 0x30 && version !== 0x31) ||
      text[8] !== ' ' ||
      !/^[1-9][0-9][0-9]$/.test(text.slice(9, 12)) ||
      (lineEnd > 12 && text[12] !== ' ')
    ) {
      this.#fail('a status line that is not HTTP/1');
      return;
    }
    const reason = lineEnd > 13 ? text.slice(13, lineEnd) : '';
    if (!cleanValue(reason, 0, reason.length)) return this.#fail('control characters in its status line');
    const headers: string[] = [];
    let contentLength = -1;
    let chunked = false;
    let connection = version === 0x31 ? 'keep-alive' : 'close';
    let at = lineEnd + 2;
    while (at < text.length) {
      let end = text.indexOf('\r\n', at);
      if (end < 0) end = text.length;
      const colon = nameEnd(text, at, end);
      if (colon < 0) return this.#fail('a header line that is none');
      const { name, lower } = nameAt(text, at, colon);
      let from = colon + 1;
      let to = end;
      while (from < to && isBlank(text.charCodeAt(from))) from++;
      while (to > from && isBlank(text.charCodeAt(to - 1))) to--;
      if (!cleanValue(text, from, to)) return this.#fail(`control characters in header ${name.slice(0, 64)}`);
      const value = text.slice(from, to);
      headers.push(name, value);
      if (headers.length > 2 * this.#limits.upstreamHeadersMax) {
        return this.#fail(`over ${this.#limits.upstreamHeadersMax} headers`);
      }
      switch (lower.length) {
        case 10:
          if (lower === 'connection') connection = value.toLowerCase();
          else if (lower === 'keep-alive') this.keepAliveS = Number(/timeout=(\d{1,6})/i.exec(value)?.[1] ?? 0);
          break;
        case 14:
          if (lower !== 'content-length') break;
          if (!/^[0-9]{1,15}$/.test(value) || contentLength >= 0)
            return this.#fail('a content-length that is none, or two');
          contentLength = Number(value);
          break;
        case 17:
          if (lower !== 'transfer-encoding') break;
          if (chunked || value.toLowerCase() !== 'chunked')
            return this.#fail('a transfer-encoding that is not "chunked"');
          chunked = true;
          break;
        default:
      }
      at = end + 2;
    }
    if (chunked && contentLength >= 0) return this.#fail('both a content-length and a transfer-encoding');
    if (status < 200) return this.#readInformational(status);
    const framing: Framing =
      status === 204 || status === 304 ? 'none' : chunked ? 'chunked' : contentLength >= 0 ? 'length' : 'close';
    this.keepAlive = framing !== 'close' && connection !== 'close' && (version === 0x31 || connection === 'keep-alive');
    this.#enter(framing, contentLength);
    sink.onHead(status, reason, headers);
    if (this.#state === State.Done) sink.onEnd();
  }

  #readInformational(status: number): void {
    if (status === 101) return this.#fail('a switch of protocols that nobody asked for');
    if (++this.#informational > informationalMax) this.#fail(`over ${informationalMax} informational answers`);
  }

  #enter(framing: Framing, contentLength: number): void {
    if (framing === 'chunked') this.#state = State.ChunkSize;
    else if (framing === 'close') this.#state = State.UntilClose;
    else if (framing === 'none' || contentLength === 0) this.#state = State.Done;
    else {
      this.#state = State.Length;
      this.#left = contentLength;
    }
  }

  #data(bytes: Buffer, at: number, sink: ResponseSink): number {
    const here = Math.min(bytes.length - at, this.#left);
    this.#left -= here;
    const chunk = at === 0 && here === bytes.length ? bytes : bytes.subarray(at, at + here);
    const ends = this.#left === 0;
    if (ends) this.#state = this.#state === State.Length ? State.Done : State.ChunkEnd;
    sink.onBody(chunk);
    if (ends && this.#state === State.Done) sink.onEnd();
    return at + here;
  }

  #chunkSize(bytes: Buffer, at: number): number {
    const end = bytes.indexOf(0x0a, at);
    if (end < 0 || end - at > sizeLineBytesMax) {
      if (bytes.length - at > sizeLineBytesMax) this.#fail('a chunk size without end');
      else return this.#hold(bytes, at);
      return at;
    }
    let size = 0;
    let digit = at;
    for (; digit < end; digit++) {
      const value = hexValue(bytes[digit] as number);
      if (value < 0) break;
      size = size * 16 + value;
    }
    const after = bytes[digit];
    const digits = digit - at;
    const sound = after === 0x0d ? digit === end - 1 : after === 0x3b || after === 0x20 || after === 0x09;
    if (digits === 0 || digits > chunkDigitsMax || !sound || bytes[end - 1] !== 0x0d) {
      this.#fail('a chunk size that is none');
      return at;
    }
    this.#left = size;
    this.#state = size === 0 ? State.Trailers : State.ChunkData;
    return end + 1;
  }

  #chunkEnd(bytes: Buffer, at: number): number {
    if (bytes[at] !== 0x0d || (at + 1 < bytes.length && bytes[at + 1] !== 0x0a)) {
      this.#fail('a chunk longer than it said');
      return at;
    }
    if (at + 1 === bytes.length) return this.#hold(bytes, at);
    this.#state = State.ChunkSize;
    return at + 2;
  }

  #trailers(bytes: Buffer, at: number, sink: ResponseSink): number {
    const end = bytes.indexOf(0x0a, at);
    this.#trailerBytes += (end < 0 ? bytes.length : end) - at;
    if (this.#trailerBytes > trailerBytesMax) {
      this.#fail(`trailers of over ${trailerBytesMax} bytes`);
      return at;
    }
    if (end < 0) {
      this.#trailerBytes -= bytes.length - at;
      return this.#hold(bytes, at);
    }
    if (end === at || bytes[end - 1] !== 0x0d) {
      this.#fail('a trailer line that is none');
      return at;
    }
    if (end === at + 1) {
      this.#state = State.Done;
      sink.onEnd();
    }
    return end + 1;
  }
}

const opening = Buffer.from('HTTP/1.');

function looksLikeHttp(bytes: Buffer, at: number): boolean {
  const length = Math.min(opening.length, bytes.length - at);
  return bytes.compare(opening, 0, length, at, at + length) === 0;
}
