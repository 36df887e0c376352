import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { CodedError, errorText } from '#libs/kernel';
import { recordingLimits } from './limits.ts';
import type { SealedFrame } from './recorder.ts';
import type { SpoolDisk, SpoolFile } from './spool-disk.ts';
import { systemDisk } from './spool-disk.ts';
import { decodeEntry, encodeEntry, scanEntries } from './spool-entry.ts';

interface Writing {
  readonly segment: number;
  readonly file: SpoolFile;
  bytes: number;
}

interface Held {
  readonly segment: number;
  readonly offset: number;
  readonly length: number;
}

export interface SpoolOptions {
  /** One gateway's own folder; made when it is not there. */
  readonly folder: string;
  readonly bytesMax?: number;
  readonly segmentBytesMax?: number;
  /** Default the machine's. */
  readonly disk?: SpoolDisk;
}

export interface SpoolStatus {
  readonly frames: number;
  readonly bytes: number;
  readonly bytesMax: number;
  /** Frames that found no room or met a disk error. */
  readonly refused: number;
  /** Bytes passed over as torn or damaged. */
  readonly damagedBytes: number;
  readonly lastError: string | undefined;
}

/**
 * Frames on disk, first in first out, bounded by bytes: when it is full the newest are refused. Numbered segment files of whole
 * entries with checksums; a place mark tells which were sent. Survives kill -9 of the process at any point: a torn last entry is
 * passed over, a place mark that lags gives a frame twice under the same id. What a power cut can lose is what the operating system
 * had not written: a segment is synced when it is closed.
 */
export class Spool {
  readonly #folder: string;
  readonly #disk: SpoolDisk;
  readonly #bytesMax: number;
  readonly #segmentBytesMax: number;
  #held: Held[] = [];
  /** Index of the oldest in #held. */
  #first = 0;
  #bytes = 0;
  #refused = 0;
  #damagedBytes = 0;
  #lastError: string | undefined;
  #nextSegment = 1;
  #writing: Writing | undefined;
  #markFile: SpoolFile | undefined;
  #head: SealedFrame | undefined;

  /** @throws SPOOL_UNUSABLE where the folder cannot be made or read */
  constructor(options: SpoolOptions) {
    this.#folder = options.folder;
    this.#disk = options.disk ?? systemDisk;
    this.#bytesMax = options.bytesMax ?? recordingLimits.spoolBytesMax;
    this.#segmentBytesMax = options.segmentBytesMax ?? recordingLimits.segmentBytesMax;
    try {
      this.#disk.makeFolder(this.#folder);
      this.#recover();
      this.#markFile = this.#disk.open(this.#markPath);
    } catch (cause) {
      throw new CodedError('SPOOL_UNUSABLE', `the spool folder ${this.#folder} cannot be used: ${errorText(cause)}`, {
        advice: 'Make it writable or choose another home folder.',
        cause,
      });
    }
  }

  get frames(): number {
    return this.#held.length - this.#first;
  }

  status(): SpoolStatus {
    return {
      frames: this.frames,
      bytes: this.#bytes,
      bytesMax: this.#bytesMax,
      refused: this.#refused,
      damagedBytes: this.#damagedBytes,
      lastError: this.#lastError,
    };
  }

  /** False where it found no room or the disk refused. Once true, the frame survives the end of the process. */
  append(frame: SealedFrame): boolean {
    const entry = encodeEntry(frame);
    if (this.#bytes + entry.length > this.#bytesMax) {
      this.#refused++;
      this.#lastError = `full: ${this.#bytes} of ${this.#bytesMax} bytes`;
      return false;
    }
    try {
      const writing = this.#segmentFor(entry.length);
      const offset = writing.bytes;
      writing.file.write(entry, offset);
      writing.bytes += entry.length;
      this.#held.push({ segment: writing.segment, offset, length: entry.length });
      this.#bytes += entry.length;
      return true;
    } catch (thrown) {
      this.#failed(thrown);
      this.#refused++;
      // Part of the entry may be on disk: the next one goes into a new segment.
      this.#closeWriting();
      return false;
    }
  }

  /** The oldest frame, which stays until `advance`; undefined when there is none. Unreadable ones are passed over and counted. */
  peek(): SealedFrame | undefined {
    while (this.#head === undefined && this.frames > 0) {
      const { segment, offset, length } = this.#held[this.#first] as Held;
      this.#head = this.#read(segment, offset, length);
      if (this.#head !== undefined) break;
      this.#damagedBytes += length;
      this.advance();
    }
    return this.#head;
  }

  /** Forgets the oldest frame: it is in the stream. */
  advance(): void {
    const done = this.#held[this.#first];
    if (done === undefined) return;
    this.#head = undefined;
    this.#first++;
    this.#bytes -= done.length;
    const next = this.#held[this.#first];
    this.#mark(done.segment, done.offset + done.length);
    if (next === undefined) {
      this.#closeWriting();
      this.#held = [];
      this.#first = 0;
    }
    if (next?.segment !== done.segment) this.#remove(done.segment);
    if (this.#first > 1024) {
      this.#held = this.#held.slice(this.#first);
      this.#first = 0;
    }
  }

  close(): void {
    this.#closeWriting();
    this.#markFile?.close();
    this.#markFile = undefined;
  }

  get #markPath(): string {
    return join(this.#folder, 'sent');
  }

  #path(segment: number): string {
    return join(this.#folder, `${String(segment).padStart(10, '0')}.frames`);
  }

  #recover(): void {
    const sent = this.#readMark();
    const segments = this.#disk
      .list(this.#folder)
      .flatMap((name) => /^(\d{10})\.frames$/.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => a - b);
    this.#nextSegment = Math.max(sent.segment, segments.at(-1) ?? 0) + 1;
    for (const segment of segments) {
      const { entries, damagedBytes } = scanEntries(this.#disk.read(this.#path(segment)));
      this.#damagedBytes += damagedBytes;
      const from = segment < sent.segment ? Infinity : segment === sent.segment ? sent.offset : 0;
      const left = entries.filter(({ offset }) => offset >= from);
      if (left.length === 0) this.#remove(segment);
      for (const { offset, length } of left) {
        this.#held.push({ segment, offset, length });
        this.#bytes += length;
      }
    }
  }

  #segmentFor(length: number): Writing {
    if (this.#writing !== undefined && this.#writing.bytes + length > this.#segmentBytesMax) this.#closeWriting();
    if (this.#writing === undefined) {
      const segment = this.#nextSegment++;
      this.#writing = { segment, file: this.#disk.create(this.#path(segment)), bytes: 0 };
    }
    return this.#writing;
  }

  #closeWriting(): void {
    if (this.#writing === undefined) return;
    const { file } = this.#writing;
    this.#writing = undefined;
    try {
      if (this.frames > 0) file.sync();
    } catch (thrown) {
      this.#failed(thrown);
    }
    file.close();
  }

  #read(segment: number, offset: number, length: number): SealedFrame | undefined {
    try {
      const bytes = this.#disk.readAt(this.#path(segment), offset, length);
      return bytes.length === length ? decodeEntry(bytes, 0) : undefined;
    } catch (thrown) {
      this.#failed(thrown);
      return undefined;
    }
  }

  #remove(segment: number): void {
    try {
      this.#disk.remove(this.#path(segment));
    } catch (thrown) {
      this.#failed(thrown);
    }
  }

  /** One short write at a fixed place. With a checksum: one that was torn between the old and the new mark counts as none. */
  #mark(segment: number, offset: number): void {
    if (this.#markFile === undefined) return;
    try {
      this.#markFile.write(Buffer.from(markText(segment, offset)), 0);
    } catch (thrown) {
      this.#failed(thrown);
    }
  }

  #readMark(): { segment: number; offset: number } {
    const text = this.#disk.read(this.#markPath).toString('utf8');
    const match = /^(\d{10}) (\d{12}) /.exec(text);
    const mark = { segment: Number(match?.[1] ?? 0), offset: Number(match?.[2] ?? 0) };
    return text === markText(mark.segment, mark.offset) ? mark : { segment: 0, offset: 0 };
  }

  #failed(thrown: unknown): void {
    this.#lastError = errorText(thrown);
  }
}

function markText(segment: number, offset: number): string {
  const place = `${String(segment).padStart(10, '0')} ${String(offset).padStart(12, '0')}`;
  return `${place} ${crc32(place).toString(16).padStart(8, '0')}\n`;
}
