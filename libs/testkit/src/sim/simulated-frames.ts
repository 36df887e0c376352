import type { Following, FrameStream, MemoryFrameStream, StoredFrame } from '#libs/event-log';
import { subjectFilter } from '#libs/event-log';
import { CodedError } from '#libs/kernel';
import type { Network, Server } from './network.ts';
import type { SimProcess } from './process.ts';

const pageMax = 32;
const pollMs = 150;
const readTriesMax = 4;

/** The frames as the broker keeps them, in the order of their sequence. */
export interface ServedFrames {
  readonly stream: MemoryFrameStream;
  readonly stored: readonly StoredFrame[];
}

/** One process's client of the simulated broker's stream of frames. */
export class SimulatedFrameStream implements FrameStream {
  readonly durability = 'disk';
  #closed = false;

  constructor(
    private readonly process: SimProcess,
    private readonly server: Server,
    private readonly served: ServedFrames,
    private readonly network: Network,
  ) {}

  async publish(subject: string, msgId: string, bytes: Uint8Array): Promise<{ seq: number; duplicate: boolean }> {
    const answer = await this.network.request<{ seq: number; duplicate: boolean }>(
      this.process,
      this.server,
      `frame ${msgId}`,
      (reply) => void this.served.stream.publish(subject, msgId, bytes).then(reply),
    );
    if (answer === undefined || this.#closed) throw unavailable(`no answer for ${msgId}`);
    return answer;
  }

  async follow(
    options: { fromSeq: number; subjects?: readonly string[] },
    handler: (frame: StoredFrame) => void | Promise<void>,
  ): Promise<Following> {
    const wanted = subjectFilter(options.subjects);
    const { timers } = this.process.environment;
    const life = { running: true };
    const run = async (): Promise<void> => {
      let nextSeq = Math.max(1, options.fromSeq);
      while (life.running && !this.#closed) {
        const page = await this.#page(nextSeq, pageMax).catch(() => []);
        for (const frame of page) {
          if (!life.running) return;
          nextSeq = frame.seq + 1;
          const handled = wanted(frame.subject) ? handler(frame) : undefined;
          if (handled !== undefined) await handled;
        }
        if (page.length === 0) await timers.sleep(pollMs);
      }
    };
    const ended = run();
    ended.catch(() => {});
    return { ended, stop: async () => void (life.running = false) };
  }

  async *read(range: { fromSeq: number; toSeq?: number; subjects?: readonly string[] }): AsyncIterable<StoredFrame> {
    const wanted = subjectFilter(range.subjects);
    const last = Math.min(range.toSeq ?? Number.POSITIVE_INFINITY, await this.lastSeq());
    for (let seq = Math.max(1, range.fromSeq); seq <= last;) {
      const page = await this.#page(seq, Math.min(pageMax, last - seq + 1));
      for (const frame of page) if (wanted(frame.subject)) yield frame;
      seq += Math.max(1, page.length);
    }
  }

  lastSeq(): Promise<number> {
    return this.#ask('last frame', () => this.served.stored.length);
  }

  firstSeq(): Promise<number> {
    return this.#ask('first frame', () => 1);
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  #page(fromSeq: number, count: number): Promise<StoredFrame[]> {
    return this.#ask('frames', () => this.served.stored.slice(fromSeq - 1, fromSeq - 1 + count));
  }

  async #ask<T>(label: string, serve: () => T): Promise<T> {
    for (let attempt = 0; attempt < readTriesMax && !this.#closed; attempt++) {
      const answer = await this.network.request<T>(this.process, this.server, label, (reply) => reply(serve()));
      if (answer !== undefined) return answer;
    }
    throw unavailable(`${label}: no answer`);
  }
}

const unavailable = (why: string): CodedError => new CodedError('FRAMES_UNAVAILABLE', `simulated frames: ${why}`);
