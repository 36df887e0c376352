import type { Changes } from './changes.ts';
import type { Row, Table } from './table.ts';

/** Sources (one start of one gateway each) whose frame numbers are remembered; the longest silent one is forgotten first. */
const sourcesMax = 512;
/** Holes remembered per source. Beyond it the oldest is given up: it stays in the table as it is. */
const holesPerSourceMax = 64;

/** Where each source's frame numbers stand. */
export const cursorTable: Table = {
  name: 'cursor',
  state: true,
  columns: { gateway_id: 'text', boot_id: 'text', last_frame_seq: 'int', last_seen_seq: 'int', holes: 'json' },
  key: ['gateway_id', 'boot_id'],
};

/** What is known to be missing from requests, and why. */
export const gapTable: Table = {
  name: 'request_gap',
  view: 'request_gaps_view',
  columns: {
    kind: 'text',
    gateway_id: 'text',
    boot_id: 'text',
    first_frame_seq: 'int',
    last_frame_seq: 'int',
    /** Records lost; null where it cannot be known. */
    records: 'int',
    stream_seq: 'int',
    noticed_at: 'time',
    note: 'text',
  },
  key: ['kind', 'gateway_id', 'boot_id', 'first_frame_seq'],
};

export interface FrameMark {
  readonly gatewayId: string;
  readonly bootId: string;
  readonly frameSeq: number;
  readonly streamSeq: number;
  readonly noticedAtMs: number;
}

interface Source {
  readonly gatewayId: string;
  readonly bootId: string;
  lastFrameSeq: number;
  lastSeenSeq: number;
  /** Missing [first, last], ascending. */
  holes: [number, number][];
}

/**
 * Notices holes in each source's frame numbers, and late frames that fill them. A gateway that was cut off sends
 * its spooled frames after newer ones, so that a hole may well close.
 */
export class FrameCursors {
  readonly #sources = new Map<string, Source>();

  constructor(rows: readonly Row[]) {
    // The order of a map is the order of silence; restore it as it was.
    const ordered = [...rows].sort((a, b) => (a['last_seen_seq'] as number) - (b['last_seen_seq'] as number));
    for (const row of ordered) {
      const source: Source = {
        gatewayId: row['gateway_id'] as string,
        bootId: row['boot_id'] as string,
        lastFrameSeq: row['last_frame_seq'] as number,
        lastSeenSeq: row['last_seen_seq'] as number,
        holes: (row['holes'] as [number, number][]).map(([first, last]) => [first, last]),
      };
      this.#sources.set(`${source.gatewayId} ${source.bootId}`, source);
    }
  }

  /** False for a frame that was here before. */
  see(mark: FrameMark, changes: Changes): boolean {
    const id = `${mark.gatewayId} ${mark.bootId}`;
    const { gatewayId, bootId, frameSeq } = mark;
    const source = this.#sources.get(id) ?? { gatewayId, bootId, lastFrameSeq: 0, lastSeenSeq: 0, holes: [] };
    const isNew = this.#advance(source, mark, changes);
    source.lastFrameSeq = Math.max(source.lastFrameSeq, frameSeq);
    source.lastSeenSeq = mark.streamSeq;
    this.#sources.delete(id);
    this.#sources.set(id, source);
    changes.put(cursorTable, {
      gateway_id: gatewayId,
      boot_id: bootId,
      last_frame_seq: source.lastFrameSeq,
      last_seen_seq: source.lastSeenSeq,
      holes: source.holes.map(([first, last]) => [first, last]),
    });
    if (this.#sources.size > sourcesMax) this.#forgetOldest(changes);
    return isNew;
  }

  #advance(source: Source, mark: FrameMark, changes: Changes): boolean {
    const { frameSeq } = mark;
    if (frameSeq > source.lastFrameSeq) {
      if (frameSeq > source.lastFrameSeq + 1) {
        const hole: [number, number] = [source.lastFrameSeq + 1, frameSeq - 1];
        source.holes.push(hole);
        if (source.holes.length > holesPerSourceMax) source.holes.shift();
        this.#putHole(hole, mark, changes);
      }
      return true;
    }
    const index = source.holes.findIndex(([first, last]) => first <= frameSeq && frameSeq <= last);
    if (index < 0) return false;
    const [first, last] = source.holes[index] as [number, number];
    const left: [number, number][] = [];
    if (first < frameSeq) left.push([first, frameSeq - 1]);
    if (frameSeq < last) left.push([frameSeq + 1, last]);
    source.holes.splice(index, 1, ...left);
    changes.delete(gapTable, this.#gapKey(mark, first));
    for (const hole of left) this.#putHole(hole, mark, changes);
    return true;
  }

  #gapKey(mark: FrameMark, firstFrameSeq: number): Row {
    return { kind: 'missing', gateway_id: mark.gatewayId, boot_id: mark.bootId, first_frame_seq: firstFrameSeq };
  }

  #putHole([first, last]: [number, number], mark: FrameMark, changes: Changes): void {
    changes.put(gapTable, {
      ...this.#gapKey(mark, first),
      last_frame_seq: last,
      records: null,
      stream_seq: mark.streamSeq,
      noticed_at: mark.noticedAtMs,
      note: 'frames that have not arrived',
    });
  }

  #forgetOldest(changes: Changes): void {
    const [id, source] = this.#sources.entries().next().value as [string, Source];
    this.#sources.delete(id);
    changes.delete(cursorTable, { gateway_id: source.gatewayId, boot_id: source.bootId });
  }
}
