import type { RecordedUsage } from '#libs/recording';
import { topLevelId } from './body/json-id.ts';
import { SseScanner } from './body/sse-scanner.ts';
import { TypedSseScanner } from './body/typed-sse-scanner.ts';
import { UsageFilter } from './body/usage-filter.ts';
import { BodyTail, usageInTail } from './body/usage.ts';
import type { Endpoint } from './endpoints.ts';
import { responsesEndpoint } from './endpoints.ts';
import type { Account } from './record.ts';

/** What happens to an engine's header on its way to the client. */
const enum Use {
  Pass,
  Drop,
  ContentType,
  ContentEncoding,
  ContentLength,
}

const uses = new Map<string, Use>(
  [
    // Hop-by-hop.
    'connection',
    'keep-alive',
    'proxy-connection',
    'proxy-authenticate',
    'te',
    'trailer',
    'transfer-encoding',
    'upgrade',
    // Ours to say.
    'request-id',
    'routing-strategy',
    'target-pod',
    'target-pod-ip',
    'prefill-target-pod',
    'prefill-target-pod-ip',
    'x-session-id',
    'x-aibrix-config-profile',
  ].map((name) => [name, Use.Drop] as const),
);
for (const name of ['content-type', 'Content-Type']) uses.set(name, Use.ContentType);
for (const name of ['content-encoding', 'Content-Encoding']) uses.set(name, Use.ContentEncoding);
for (const name of ['content-length', 'Content-Length']) uses.set(name, Use.ContentLength);
for (const name of ['date', 'Date', 'server', 'Server']) uses.set(name, Use.Pass);
for (const name of ['Connection', 'Keep-Alive', 'Transfer-Encoding']) uses.set(name, Use.Drop);

/** An engine's answer as it goes by: its headers sorted once, its bytes read for tokens and usage. */
export class Answer {
  /** Headers that go on to the client; ours are appended. */
  readonly headers: string[] = [];
  readonly sse: SseScanner | undefined;
  /** Bytes promised to the client, so that nothing can be added to the body; -1 where none were. */
  length = -1;
  /** Takes out the usage that only we asked for. */
  readonly filter: UsageFilter | undefined;
  /** Its bytes are as the engine wrote them, not compressed. */
  readonly plain: boolean;
  readonly #tail: BodyTail | undefined;
  readonly #typed: TypedSseScanner | undefined;
  #usage: RecordedUsage | undefined;
  /** The first bytes of an answer whose id is wanted. */
  #head: Buffer | undefined;

  constructor(
    readonly status: number,
    readonly reason: string,
    headers: readonly string[],
    endpoint: Endpoint,
    /** The client did not ask for the usage that the stream will tell. */
    hideUsage = false,
  ) {
    let stream = false;
    let plain = true;
    const out = this.headers;
    for (let index = 0; index + 1 < headers.length; index += 2) {
      const name = headers[index] as string;
      const value = headers[index + 1] as string;
      switch (uses.get(name) ?? useOf(name)) {
        case Use.Drop:
          continue;
        case Use.ContentType:
          stream = /^text\/event-stream\b/i.test(value);
          break;
        case Use.ContentEncoding:
          plain = false;
          break;
        case Use.ContentLength:
          this.length = Number(value);
          break;
        default:
      }
      out.push(name, value);
    }
    this.plain = plain;
    if (!plain || status >= 400) return;
    const { dialect } = endpoint;
    if (!stream) {
      this.#tail = new BodyTail();
      if (endpoint === responsesEndpoint) this.#head = noBytes;
    } else if (dialect === 'openai') {
      this.sse = new SseScanner();
      if (hideUsage) {
        this.filter = new UsageFilter();
        this.#forgetLength();
      }
    } else this.sse = this.#typed = new TypedSseScanner();
  }

  /** The body will be another. */
  #forgetLength(): void {
    if (this.length < 0) return;
    this.length = -1;
    const { headers } = this;
    for (let index = headers.length - 2; index >= 0; index -= 2) {
      if (headers[index]?.toLowerCase() === 'content-length') headers.splice(index, 2);
    }
  }

  /** Of a response that its engine may be asked for again; '' as long as it is not told. */
  responseId(): string {
    if (this.#typed !== undefined) return this.#typed.responseId;
    return this.#head === undefined ? '' : topLevelId(this.#head);
  }

  /** `atMs` from the request received. */
  feed(chunk: Buffer, atMs: number): void {
    if (this.sse !== undefined) this.sse.feed(chunk, atMs);
    else this.#tail?.feed(chunk);
    if (this.#head !== undefined && this.#head.length < headBytesMax) this.#head = Buffer.concat([this.#head, chunk]);
  }

  /** The one chunk of an answer that came whole. */
  feedWhole(chunk: Buffer): void {
    if (this.#tail !== undefined) this.#usage = usageInTail(chunk);
    if (this.#head !== undefined) this.#head = Buffer.from(chunk);
  }

  /** Writes what was read into the request's account. */
  settle(account: Account): void {
    const { sse } = this;
    if (sse === undefined) {
      account.usage = this.#usage ?? this.#tail?.usage();
      return;
    }
    account.tokenGaps = sse.tokenGaps;
    account.tokenSpanMs = sse.lastTokenMs - sse.firstTokenMs;
    account.tokenGapMsMax = sse.gapMsMax;
    account.usage = sse.usage ?? {
      promptTokens: account.features?.promptTokens ?? 0,
      completionTokens: sse.tokenEvents,
      cachedTokens: 0,
      fromEngine: false,
    };
  }
}

const noBytes: Buffer = Buffer.alloc(0);
/** Before its id an engine says little. */
const headBytesMax = 16 * 1024;

function useOf(name: string): Use {
  const lower = name.toLowerCase();
  return uses.get(lower) ?? (lower.startsWith('x-lintel-') ? Use.Drop : Use.Pass);
}
