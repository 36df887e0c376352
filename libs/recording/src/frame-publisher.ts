import type { FrameStream } from '#libs/event-log';
import type { Environment, Timer } from '#libs/kernel';
import { CodedError, errorCode, errorText } from '#libs/kernel';
import { recordingLimits } from './limits.ts';
import type { SealedFrame } from './recorder.ts';
import type { Spool } from './spool.ts';

export interface PublisherStatus {
  readonly published: number;
  /** Confirmed as stored before: sent again after a lost answer or a restart. */
  readonly duplicates: number;
  /** Frames that the stream will never take (too large). */
  readonly rejected: number;
  /** Frames in memory, and the records in them: what a kill -9 would lose. */
  readonly queued: number;
  readonly queuedRecords: number;
  readonly busAway: boolean;
  readonly lastError: string | undefined;
}

export interface PublisherOptions {
  readonly stream: FrameStream;
  readonly spool: Spool;
  readonly environment: Environment;
}

interface Queued {
  readonly frame: SealedFrame;
  readonly atMs: number;
}

/**
 * Sends frames to the stream one after the other, in order. Frames that the bus does not confirm in time go to the spool and
 * follow when it is back; so do those that an earlier process left there. The spool always holds the older ones.
 */
export class FramePublisher {
  readonly #options: PublisherOptions;
  #queue: Queued[] = [];
  #pumping: Promise<void> | undefined;
  #stopping = false;
  #wakeRetry: (() => void) | undefined;
  #spillTimer: Timer | undefined;
  #published = 0;
  #duplicates = 0;
  #rejected = 0;
  #away = false;
  #lastError: string | undefined;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** Sends what the spool holds from before. */
  start(): void {
    this.#pump();
  }

  status(): PublisherStatus {
    return {
      published: this.#published,
      duplicates: this.#duplicates,
      rejected: this.#rejected,
      queued: this.#queue.length,
      queuedRecords: this.#queue.reduce((sum, { frame }) => sum + frame.records, 0),
      busAway: this.#away,
      lastError: this.#lastError,
    };
  }

  /** Takes a frame without waiting; false where memory and disk have no room. */
  offer(frame: SealedFrame): boolean {
    const { spool, environment } = this.#options;
    const nowMs = environment.clock.monotonicMs();
    if (this.#away) this.#spill();
    const onDisk = this.#queue.length === 0 && (this.#away || spool.frames > 0) && spool.append(frame);
    if (!onDisk) {
      if (this.#queue.length >= recordingLimits.framesQueuedMax) return false;
      this.#queue.push({ frame, atMs: nowMs });
      this.#watch(recordingLimits.spillAfterMs);
    }
    this.#pump();
    return true;
  }

  /** Sends what is left for a bounded time; what remains then stays on disk for the next start. */
  async stop(drainMsMax: number = recordingLimits.drainMsMax): Promise<void> {
    const { timers } = this.#options.environment;
    const deadline = timers.after(drainMsMax, () => this.#giveUp());
    if (this.#away) this.#giveUp();
    await this.#pumping;
    deadline.cancel();
    this.#giveUp();
    this.#options.spool.close();
  }

  /** A frame that waits too long in memory goes to disk, also when no other follows it. */
  #watch(delayMs: number): void {
    const { clock, timers } = this.#options.environment;
    this.#spillTimer ??= timers.after(delayMs, () => {
      this.#spillTimer = undefined;
      const oldest = this.#queue[0];
      if (oldest === undefined) return;
      const leftMs = oldest.atMs + recordingLimits.spillAfterMs - clock.monotonicMs();
      if (leftMs <= 0) this.#spill();
      // What the disk did not take is tried again.
      if (this.#queue.length > 0) this.#watch(leftMs > 0 ? leftMs : recordingLimits.spillAfterMs);
    });
  }

  #giveUp(): void {
    this.#stopping = true;
    this.#spillTimer?.cancel();
    this.#spill();
    this.#wakeRetry?.();
  }

  /** Moves the queue to disk, oldest first, as far as the disk takes it. */
  #spill(): void {
    while (this.#queue.length > 0) {
      if (!this.#options.spool.append((this.#queue[0] as Queued).frame)) return;
      this.#queue.shift();
    }
  }

  #pump(): void {
    if (this.#stopping) return;
    this.#pumping ??= this.#run().finally(() => {
      this.#pumping = undefined;
      // A frame that came after the last look and before this line.
      if (this.#queue.length > 0) this.#pump();
    });
  }

  async #run(): Promise<void> {
    let delayMs: number = recordingLimits.retryDelayMsMin;
    while (!this.#stopping) {
      const frame = this.#options.spool.peek() ?? this.#queue[0]?.frame;
      if (frame === undefined) return;
      try {
        const { duplicate } = await this.#publish(frame);
        if (duplicate) this.#duplicates++;
        else this.#published++;
      } catch (thrown) {
        this.#lastError = errorText(thrown);
        if (errorCode(thrown) !== 'FRAMES_TOO_LARGE') {
          this.#away = true;
          this.#spill();
          await this.#pause(delayMs);
          delayMs = Math.min(delayMs * 2, recordingLimits.retryDelayMsMax);
          continue;
        }
        this.#rejected++;
      }
      this.#away = false;
      delayMs = recordingLimits.retryDelayMsMin;
      this.#forget(frame);
    }
  }

  /** It may have been moved from the queue to disk while it was on its way. */
  #forget(frame: SealedFrame): void {
    if (this.#queue[0]?.frame === frame) this.#queue.shift();
    else if (this.#options.spool.peek()?.msgId === frame.msgId) this.#options.spool.advance();
  }

  async #publish({ subject, msgId, bytes }: SealedFrame): Promise<{ duplicate: boolean }> {
    const { stream, environment } = this.#options;
    const late = Promise.withResolvers<never>();
    const timer = environment.timers.after(recordingLimits.publishTimeoutMs, () =>
      late.reject(new CodedError('FRAMES_UNAVAILABLE', `no answer for frame ${msgId} in time`)),
    );
    try {
      return await Promise.race([stream.publish(subject, msgId, bytes), late.promise]);
    } finally {
      timer.cancel();
    }
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#options.environment.timers.after(delayMs, resolve);
      this.#wakeRetry = () => {
        timer.cancel();
        resolve();
      };
    });
  }
}
