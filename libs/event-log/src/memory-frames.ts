import type { Clock } from '#libs/kernel';
import { CodedError } from '#libs/kernel';
import { Pump } from './following.ts';
import type { FrameStream, StoredFrame } from './frames.ts';
import type { Following } from './port.ts';
import { subjectFilter } from './subject-filter.ts';

/** Frames in memory, bounded by bytes: the oldest go first. */
export class MemoryFrameStream implements FrameStream {
  readonly durability = 'memory';
  readonly #clock: Clock;
  readonly #bytesMax: number;
  #frames: StoredFrame[] = [];
  /** Index of the oldest frame kept, so that dropping one costs nothing. */
  #start = 0;
  readonly #seqById = new Map<string, number>();
  readonly #pumps = new Set<Pump<StoredFrame>>();
  #bytes = 0;
  #lastSeq = 0;
  #closed = false;

  constructor(options: { clock: Clock; bytesMax?: number }) {
    this.#clock = options.clock;
    this.#bytesMax = options.bytesMax ?? 256 * 1024 ** 2;
  }

  async publish(subject: string, msgId: string, bytes: Uint8Array): Promise<{ seq: number; duplicate: boolean }> {
    this.#open();
    const known = this.#seqById.get(msgId);
    if (known !== undefined) return { seq: known, duplicate: true };
    if (bytes.byteLength > this.#bytesMax) {
      throw new CodedError('FRAMES_TOO_LARGE', `a frame of ${bytes.byteLength} bytes, bound ${this.#bytesMax}`);
    }
    const seq = ++this.#lastSeq;
    this.#frames.push({ seq, subject, msgId, bytes, storedAtMs: this.#clock.nowMs() });
    this.#seqById.set(msgId, seq);
    this.#bytes += bytes.byteLength;
    while (this.#bytes > this.#bytesMax) this.#dropOldest();
    for (const pump of this.#pumps) pump.wake();
    return { seq, duplicate: false };
  }

  async follow(
    options: { fromSeq: number; subjects?: readonly string[] },
    handler: (frame: StoredFrame) => void | Promise<void>,
  ): Promise<Following> {
    this.#open();
    const wanted = subjectFilter(options.subjects);
    let nextSeq = options.fromSeq;
    const next = (): StoredFrame | undefined => {
      for (;;) {
        const frame = this.#at(Math.max(nextSeq, this.#firstSeq));
        if (frame === undefined) return undefined;
        nextSeq = frame.seq + 1;
        if (wanted(frame.subject)) return frame;
      }
    };
    const pump: Pump<StoredFrame> = new Pump(next, handler, () => this.#pumps.delete(pump));
    this.#pumps.add(pump);
    return pump;
  }

  async *read(range: { fromSeq: number; toSeq?: number; subjects?: readonly string[] }): AsyncIterable<StoredFrame> {
    this.#open();
    const wanted = subjectFilter(range.subjects);
    const last = Math.min(range.toSeq ?? this.#lastSeq, this.#lastSeq);
    for (let seq = range.fromSeq; seq <= last; seq++) {
      const frame = this.#at((seq = Math.max(seq, this.#firstSeq)));
      if (frame !== undefined && seq <= last && wanted(frame.subject)) yield frame;
    }
  }

  async lastSeq(): Promise<number> {
    this.#open();
    return this.#lastSeq;
  }

  async firstSeq(): Promise<number> {
    this.#open();
    return this.#firstSeq;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#pumps].map((pump) => pump.stop()));
  }

  get #firstSeq(): number {
    return this.#frames[this.#start]?.seq ?? this.#lastSeq + 1;
  }

  #at(seq: number): StoredFrame | undefined {
    return seq < this.#firstSeq ? undefined : this.#frames[this.#start + seq - this.#firstSeq];
  }

  #dropOldest(): void {
    const oldest = this.#frames[this.#start] as StoredFrame;
    this.#bytes -= oldest.bytes.byteLength;
    this.#seqById.delete(oldest.msgId);
    this.#start++;
    if (this.#start > 1024 && this.#start * 2 > this.#frames.length) {
      this.#frames = this.#frames.slice(this.#start);
      this.#start = 0;
    }
  }

  #open(): void {
    if (this.#closed) throw new CodedError('FRAMES_UNAVAILABLE', 'the frame stream is closed');
  }
}
