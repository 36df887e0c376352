import type { RecordedUsage } from '#libs/recording';
import { usageOf } from './usage.ts';

const lineBytesMax = 256 * 1024;
const dataColon = Buffer.from('data:');
const done = Buffer.from('[DONE]');
const usagePattern = Buffer.from('"usage":');
const errorStart = Buffer.from('{"error"');
const noChoices = Buffer.from('"choices":[]');
/** Chunks that carry no token: the first that names the role, and the last that names the reason of the end. */
const emptyDeltas = [Buffer.from('"content":""'), Buffer.from('"delta":{}'), Buffer.from('"text":""')];
const otherTokens = [Buffer.from('"tool_calls":[{'), Buffer.from('"reasoning')];

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
    if (to - from < 6 || bytes.compare(dataColon, 0, 5, from, from + 5) !== 0) return;
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
    if (line.length >= 8 && line.compare(errorStart, 0, 8, 0, 8) === 0) {
      this.errorTold = true;
      return;
    }
    const usageAt = line.indexOf(usagePattern);
    if (usageAt >= 0) this.#readUsage(line, usageAt + usagePattern.length);
    if (carriesToken(line)) this.token(nowMs);
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

function carriesToken(line: Buffer): boolean {
  if (line.length < 3) return false;
  for (const empty of emptyDeltas) {
    if (line.indexOf(empty) < 0) continue;
    return otherTokens.some((pattern) => line.indexOf(pattern) >= 0);
  }
  return line.indexOf(noChoices) < 0;
}
