import type { Following } from './port.ts';

/** A binary record frame as stored. */
export interface StoredFrame {
  readonly seq: number;
  readonly subject: string;
  readonly msgId: string;
  readonly bytes: Uint8Array;
  /** When the stream stored it, milliseconds since the Unix epoch. */
  readonly storedAtMs: number;
}

/** The stream of request records: bounded, oldest dropped first, duplicates told by msgId. */
export interface FrameStream {
  readonly durability: 'memory' | 'disk';
  /**
   * Stores a frame. `duplicate` is true when this msgId is there already (`seq` is then that frame's).
   * @throws FRAMES_UNAVAILABLE no answer: publish again with the same msgId · FRAMES_TOO_LARGE · FRAMES_FORBIDDEN
   */
  publish(subject: string, msgId: string, bytes: Uint8Array): Promise<{ seq: number; duplicate: boolean }>;
  /** Each frame once and in order, stored ones first. A `fromSeq` older than `firstSeq` starts there. */
  follow(
    options: { fromSeq: number; subjects?: readonly string[] },
    handler: (frame: StoredFrame) => void | Promise<void>,
  ): Promise<Following>;
  /** Frames in [fromSeq, toSeq], in order; toSeq defaults to the end at the time of the call. */
  read(range: { fromSeq: number; toSeq?: number; subjects?: readonly string[] }): AsyncIterable<StoredFrame>;
  /** Last sequence ever given; 0 when none was. */
  lastSeq(): Promise<number>;
  /** Oldest sequence still kept; lastSeq + 1 when nothing is. */
  firstSeq(): Promise<number>;
  close(): Promise<void>;
}
