import { subjects } from '#libs/contracts';
import type { Environment, Timer } from '#libs/kernel';
import { FrameBuilder } from './frame-builder.ts';
import { recordingLimits } from './limits.ts';
import type { RecordInput } from './record-input.ts';

/** A closed frame on its way to the stream. */
export interface SealedFrame {
  readonly subject: string;
  /** `<gateway>-<boot>-<frameSeq>`: the stream tells duplicates by it. */
  readonly msgId: string;
  readonly bytes: Uint8Array;
  /** Records in it, to count what is lost with it. */
  readonly records: number;
}

export interface RecorderOptions {
  readonly gatewayId: string;
  /** New at each start, and never used again. */
  readonly bootId: string;
  readonly environment: Environment;
  /** Takes a frame; false where there is no room: its records are then counted as dropped in the next frame. */
  readonly offer: (frame: SealedFrame) => boolean;
}

export interface RecorderStatus {
  readonly recorded: number;
  /** Records lost since the start, each told in the `dropped` of a frame as soon as one gets through. */
  readonly dropped: number;
  readonly waiting: number;
  readonly frames: number;
}

/** Writes each record into the frame under way, so that nothing of it is kept, and closes the frame every 50 ms or when it is large. */
export class Recorder {
  readonly #options: RecorderOptions;
  readonly #subject: string;
  readonly #builder = new FrameBuilder();
  #timer: Timer | undefined;
  #frameSeq = 0;
  #recorded = 0;
  #dropped = 0;
  /** Dropped and not yet told in a frame. */
  #untold = 0;

  constructor(options: RecorderOptions) {
    this.#options = options;
    this.#subject = subjects.requests(options.gatewayId);
  }

  /** Never throws, never waits, keeps nothing of the record. */
  record(record: RecordInput): void {
    if (this.#builder.add(record)) this.#recorded++;
    else this.#count(1);
    if (this.#builder.full) this.flush();
    else this.#arm();
  }

  /** Closes the frame under way. A gap is told even where nothing follows it. */
  flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#builder.count > 0 || this.#untold > 0) this.#close();
  }

  status(): RecorderStatus {
    return {
      recorded: this.#recorded,
      dropped: this.#dropped,
      waiting: this.#builder.count,
      frames: this.#frameSeq,
    };
  }

  #arm(): void {
    this.#timer ??= this.#options.environment.timers.after(recordingLimits.framePeriodMs, () => this.flush());
  }

  #count(lost: number): void {
    this.#dropped += lost;
    this.#untold += lost;
  }

  #close(): void {
    const { gatewayId, bootId, environment, offer } = this.#options;
    const records = this.#builder.count;
    // A frame that finds no room leaves no hole: its number goes to the next one.
    const frameSeq = this.#frameSeq + 1;
    const closedAtMs = environment.clock.nowMs();
    const bytes = this.#builder.finish({ gatewayId, bootId, frameSeq, closedAtMs, dropped: this.#untold });
    const taken = offer({ subject: this.#subject, msgId: `${gatewayId}-${bootId}-${frameSeq}`, bytes, records });
    if (taken) {
      this.#frameSeq = frameSeq;
      this.#untold = 0;
      return;
    }
    this.#recorded -= records;
    this.#count(records);
    // Tells the gap as soon as there is room, also when no request comes any more.
    this.#arm();
  }
}
