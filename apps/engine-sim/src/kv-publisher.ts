import { Publisher, Router } from 'zeromq';
import type { KvEvent } from '#libs/engine-model';
import { encodeBatch } from './kv-wire.ts';
import type { EngineSimSettings } from './options.ts';

/** vLLM's defaults. */
export const replayBatchesMax = 10_000;
const queuedBatchesMax = 100_000;
const sendHighWaterMark = 100_000;

const endOfReplay = Buffer.alloc(8, 0xff);
const empty = Buffer.alloc(0);

const portOf = (endpoint: string | null): number => Number(/:(\d+)$/.exec(endpoint ?? '')?.[1]);

function sequenceBytes(sequence: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(sequence));
  return bytes;
}

/** vLLM's KV events: a PUB socket and a ROUTER that sends again what a subscriber missed. */
export class KvPublisher {
  readonly #settings: EngineSimSettings;
  readonly #adapterId: (name: string) => number | null;
  readonly #publisher = new Publisher({ sendHighWaterMark, linger: 0 });
  readonly #router = new Router({ sendHighWaterMark, linger: 0 });
  /** The last payloads, each at its sequence modulo the bound. */
  readonly #sent: Buffer[] = [];
  #queue: Buffer[][] = [];
  #sending = false;
  #next = 0;
  #topic = '';
  /** Batches that found the queue full. */
  dropped = 0;
  port = 0;
  replayPort = 0;

  constructor(settings: EngineSimSettings, adapterId: (name: string) => number | null) {
    this.#settings = settings;
    this.#adapterId = adapterId;
  }

  get topic(): string {
    return this.#topic;
  }

  async open(httpPort: number): Promise<void> {
    const { host, kvEvents = {}, models } = this.#settings;
    this.#topic = kvEvents.topic ?? `kv@${host}:${httpPort}@${models[0]}`;
    const address = host === 'localhost' ? '127.0.0.1' : host; // a socket binds to addresses only
    const endpoint = (port: number | undefined): string =>
      `tcp://${address}:${port === undefined || port === 0 ? '*' : port}`;
    await this.#publisher.bind(endpoint(kvEvents.port));
    await this.#router.bind(endpoint(kvEvents.replayPort));
    this.port = portOf(this.#publisher.lastEndpoint);
    this.replayPort = portOf(this.#router.lastEndpoint);
    this.#serveReplay().catch((thrown: unknown) => {
      // The engine ended in the middle of an answer.
      if (!this.#router.closed) throw thrown;
    });
  }

  publish(events: readonly KvEvent[]): void {
    if (this.#queue.length >= queuedBatchesMax) {
      this.dropped++;
      return;
    }
    const sequence = this.#next++;
    const payload = encodeBatch(this.#settings.environment.clock.nowMs() / 1000, events, this.#adapterId);
    this.#sent[sequence % replayBatchesMax] = payload;
    this.#queue.push([Buffer.from(this.#topic), sequenceBytes(sequence), payload]);
    if (!this.#sending) void this.#drain();
  }

  close(): void {
    this.#publisher.close();
    this.#router.close();
  }

  /** A socket takes one message at a time. */
  async #drain(): Promise<void> {
    this.#sending = true;
    while (this.#queue.length > 0 && !this.#publisher.closed) {
      const batch = this.#queue;
      this.#queue = [];
      for (const message of batch) {
        if (this.#publisher.closed) break;
        await this.#publisher.send(message);
      }
    }
    this.#sending = false;
  }

  async #serveReplay(): Promise<void> {
    for await (const [client, separator, from] of this.#router) {
      if (client === undefined || separator === undefined || from?.length !== 8) continue; // the real one ignores it too
      const first = Math.max(Number(from.readBigUInt64BE()), this.#next - replayBatchesMax);
      for (let sequence = first; sequence < this.#next; sequence++) {
        const payload = this.#sent[sequence % replayBatchesMax]!;
        await this.#router.send([client, empty, Buffer.from(this.#topic), sequenceBytes(sequence), payload]);
      }
      await this.#router.send([client, empty, empty, endOfReplay, empty]);
    }
  }
}
