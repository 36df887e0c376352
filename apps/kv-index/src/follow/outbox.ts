import type { FrameStream } from '#libs/event-log';
import type { Environment } from '#libs/kernel';
import { errorText } from '#libs/kernel';
import type { EngineBatch, KvFrame } from '#libs/kv-stream';
import { encodeKvFrame, kvStreamLimits } from '#libs/kv-stream';
import { limits } from '../limits.ts';

/** A frame, or what makes frames once everything before it is published. */
export type Outgoing =
  | { readonly frame: KvFrame }
  | { readonly batch: EngineBatch; readonly rank: number; readonly life: string }
  | { readonly frames: (publishedSeq: number) => AsyncGenerator<KvFrame> };

/**
 * What is to be published of one replica, in order, one message under way at a time: what comes meanwhile goes together in the next. It
 * fails as a whole: after a frame that could not be published nothing behind it is.
 */
export class Outbox {
  readonly #queue: Outgoing[] = [];
  #bytes = 0;
  #running: Promise<void> | undefined;
  #closed = false;
  #count = 0;
  #publishedSeq = 0;

  constructor(
    private readonly to: FrameStream,
    private readonly subject: string,
    private readonly writer: string,
    private readonly environment: Environment,
    private readonly failed: (why: string) => void,
    /** Unlike that of any other outbox. */
    private readonly id: string,
    private readonly bytesMax: number = limits.outboxBytesMax,
  ) {}

  get bytes(): number {
    return this.#bytes;
  }

  put(outgoing: Outgoing): void {
    if (this.#closed) return;
    this.#queue.push(outgoing);
    if ('batch' in outgoing) this.#bytes += outgoing.batch.payload.byteLength;
    if (this.#bytes > this.bytesMax) return this.#fail(`${this.#bytes} bytes wait for the broker`);
    this.#begin();
  }

  /** Nothing more is published, but for what is under way. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#queue.length = 0;
    await this.#running;
  }

  /** Publishes all that waits, then closes. */
  async finish(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
    await this.close();
  }

  #begin(): void {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
      // Put in after the last look, and before this.
      if (this.#queue.length > 0) this.#begin();
    });
  }

  #fail(why: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#queue.length = 0;
    this.failed(why);
  }

  async #run(): Promise<void> {
    try {
      for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
        if ('frame' in next) await this.#publish(next.frame);
        else if ('frames' in next)
          for await (const frame of next.frames(this.#publishedSeq)) await this.#publish(frame);
        else await this.#publish(this.#together(next));
      }
    } catch (thrown) {
      this.#fail(errorText(thrown));
    }
  }

  #together({ batch, rank, life }: Extract<Outgoing, { batch: unknown }>): KvFrame {
    const batches = [batch];
    let bytes = batch.payload.byteLength;
    for (let next = this.#queue[0]; next !== undefined && 'batch' in next; next = this.#queue[0]) {
      if (next.rank !== rank || next.life !== life) break;
      if (bytes + next.batch.payload.byteLength > kvStreamLimits.frameBytesMax) break;
      bytes += next.batch.payload.byteLength;
      batches.push(next.batch);
      this.#queue.shift();
    }
    this.#bytes -= bytes;
    return { kind: 'batches', writer: this.writer, rank, life, batches };
  }

  async #publish(frame: KvFrame): Promise<void> {
    const bytes = encodeKvFrame(frame);
    const id = `${this.subject}-${this.id}-${++this.#count}`;
    for (let tries = 1; ; tries++) {
      try {
        const { seq } = await this.to.publish(this.subject, id, bytes);
        this.#publishedSeq = seq;
        return;
      } catch (thrown) {
        if (this.#closed || tries >= limits.publishTriesMax) throw thrown;
        await this.environment.timers.sleep(limits.publishRetryMs);
      }
    }
  }
}
