import type { RecordedUsage } from '#libs/recording';
import { usageOf } from './usage.ts';

const lineBytesMax = 256 * 1024;
const done = Buffer.from('[DONE]');
const errorStart = Buffer.from('{"error"');

/** What a chunk may say of itself. */
const enum Says {
  Usage = 1,
  /** No token: the first chunk that names the role, and the last that names the reason of the end. */
  EmptyDelta = 2,
  /** A token that is no text. */
  OtherToken = 4,
  NoChoices = 8,
}

/** Each begins with a quote; by the letter behind it. */
const patterns: (readonly (readonly [pattern: Buffer, says: Says])[] | undefined)[] = [];
for (const [text, says] of [
  ['"usage":', Says.Usage],
  ['"content":""', Says.EmptyDelta],
  ['"delta":{}', Says.EmptyDelta],
  ['"text":""', Says.EmptyDelta],
  ['"tool_calls":[{', Says.OtherToken],
  ['"reasoning', Says.OtherToken],
  ['"choices":[]', Says.NoChoices],
] as const) {
  const letter = text.charCodeAt(1);
  patterns[letter] = [...(patterns[letter] ?? []), [Buffer.from(text), says]];
}

/** Of the last `sayings`: where "usage" stands first. */
let usageAt = -1;

/** All that a chunk says, in one pass: a search for each pattern would cost more than all else that a token costs us. */
function sayings(line: Buffer): number {
  let found = 0;
  usageAt = -1;
  const last = line.length - 8;
  for (let at = 0; at <= last; at++) {
    if (line[at] !== 0x22) continue;
    const group = patterns[line[at + 1] as number];
    if (group === undefined) continue;
    for (const [pattern, says] of group) {
      if (!stands(line, at, pattern)) continue;
      found |= says;
      if (says === Says.Usage && usageAt < 0) usageAt = at;
    }
  }
  return found;
}

function stands(line: Buffer, at: number, pattern: Buffer): boolean {
  if (at + pattern.length > line.length) return false;
  for (let index = 2; index < pattern.length; index++) if (line[at + index] !== pattern[index]) return false;
  return true;
}

/**
 * Reads a stream of server-sent events as its bytes pass: when tokens came, how many, and the engine's usage. A line may be split
 * anywhere. Nothing of the chunks is kept but a line that is not yet whole.
 */
export class SseScanner {
  usage: RecordedUsage | undefined;
  /** Events with a token in them. */
  tokenEvents = 0;
  firstTokenMs = 0;
  lastTokenMs = 0;
  gapMsMax = 0;
  /** `data: [DONE]` has come. */
  done = false;
  /** The engine itself told an error inside the stream. */
  errorTold = false;
  #partial: Buffer | undefined;
  /** A line longer than lineBytesMax is passed over up to its end. */
  #skipping = false;
  /** The last byte fed ended a line, so that what follows starts one. */
  atLineStart = true;

  /** `nowMs` is when the chunk came, on the caller's own scale. */
  feed(chunk: Buffer, nowMs: number): void {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(0x0a, start);
      if (end < 0) break;
      if (this.#skipping) this.#skipping = false;
      else if (this.#partial === undefined) this.#line(chunk, start, end, nowMs);
      else {
        const line = Buffer.concat([this.#partial, chunk.subarray(start, end)]);
        this.#partial = undefined;
        this.#line(line, 0, line.length, nowMs);
      }
      start = end + 1;
    }
    this.atLineStart = start === chunk.length && !this.#skipping && this.#partial === undefined;
    if (start === chunk.length || this.#skipping) return;
    const held = this.#partial === undefined ? 0 : this.#partial.length;
    if (held + chunk.length - start > lineBytesMax) {
      this.#partial = undefined;
      this.#skipping = true;
      return;
    }
    const rest = chunk.subarray(start);
    // A copy, since the chunk's memory may be reused.
    this.#partial = this.#partial === undefined ? Buffer.from(rest) : Buffer.concat([this.#partial, rest]);
  }

  /** Span of the tokens seen and the number of gaps between them. */
  get tokenGaps(): number {
    return this.tokenEvents > 1 ? this.tokenEvents - 1 : 0;
  }

  /** A line that is no data: comments, names of events, the blank one that ends an event. */
  protected other(_bytes: Buffer, _from: number, _to: number): void {}

  #line(bytes: Buffer, from: number, to: number, nowMs: number): void {
    if (bytes[from] !== 0x64) {
      this.other(bytes, from, to);
      return;
    }
    // "data:"
    if (to - from < 6 || bytes[from + 1] !== 0x61 || bytes[from + 2] !== 0x74) return;
    if (bytes[from + 3] !== 0x61 || bytes[from + 4] !== 0x3a) return;
    let start = from + 5;
    let end = to;
    if (bytes[start] === 0x20) start++;
    if (bytes[end - 1] === 0x0d) end--;
    if (bytes[start] === 0x5b && end - start === 6 && bytes.compare(done, 0, 6, start, end) === 0) {
      this.done = true;
      return;
    }
    const line = bytes.subarray(start, end);
    this.data(line, nowMs);
  }

  /** The data of one line. */
  protected data(line: Buffer, nowMs: number): void {
    if (line.length >= 8 && line[2] === 0x65 && line.compare(errorStart, 0, 8, 0, 8) === 0) {
      this.errorTold = true;
      return;
    }
    const found = sayings(line);
    if (usageAt >= 0) this.#readUsage(line, usageAt + '"usage":'.length);
    if (carriesToken(line, found)) this.token(nowMs);
  }

  #readUsage(line: Buffer, at: number): void {
    const first = line[at] === 0x20 ? line[at + 1] : line[at];
    if (first !== 0x7b) return;
    try {
      const usage = usageOf((JSON.parse(line.toString('utf8')) as { usage?: unknown }).usage);
      if (usage !== undefined) this.usage = usage;
    } catch {
      // The engine's own mistake: its usage is then counted from the stream.
    }
  }

  protected token(nowMs: number): void {
    if (this.tokenEvents === 0) this.firstTokenMs = nowMs;
    else if (nowMs - this.lastTokenMs > this.gapMsMax) this.gapMsMax = nowMs - this.lastTokenMs;
    this.lastTokenMs = nowMs;
    this.tokenEvents++;
  }
}

function carriesToken(line: Buffer, found: number): boolean {
  if (line.length < 3) return false;
  return (found & Says.EmptyDelta) === 0 ? (found & Says.NoChoices) === 0 : (found & Says.OtherToken) !== 0;
}
