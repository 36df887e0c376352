import type { Changes } from './changes.ts';
import type { Row, Table } from './table.ts';

/** Starts of gateways whose frames are remembered; the longest silent one is forgotten first, and counted. */
const sourcesMax = 4_096;
/** Unbroken runs of frame numbers of one start. Beyond it the two lowest are made one: what was missing between them counts as seen, and is counted. */
const runsMax = 256;

/** Which frames of which start of a gateway are in the ledger already. */
export const ledgerSourceTable: Table = {
  name: 'ledger_source',
  state: true,
  columns: {
    gateway_id: 'text',
    boot_id: 'text',
    /** [first, last], ascending. */
    runs: 'json',
    last_seen_seq: 'int',
    last_seen_at: 'time',
  },
  key: ['gateway_id', 'boot_id'],
};

interface Source {
  readonly gatewayId: string;
  readonly bootId: string;
  readonly runs: [number, number][];
  lastSeenSeq: number;
  lastSeenAtMs: number;
}

/** Tells frames that come a second time, also long after the first: they are counted once. */
export class SeenFrames {
  readonly #sources = new Map<string, Source>();
  readonly #touched = new Set<Source>();

  constructor(rows: readonly Row[]) {
    // The order of the map is the order of silence.
    for (const row of [...rows].sort((a, b) => (a['last_seen_seq'] as number) - (b['last_seen_seq'] as number))) {
      const source: Source = {
        gatewayId: row['gateway_id'] as string,
        bootId: row['boot_id'] as string,
        runs: (row['runs'] as [number, number][]).map(([first, last]) => [first, last]),
        lastSeenSeq: row['last_seen_seq'] as number,
        lastSeenAtMs: row['last_seen_at'] as number,
      };
      this.#sources.set(`${source.gatewayId} ${source.bootId}`, source);
    }
  }

  /** The latest time at which a frame was stored. */
  get lastSeenAtMs(): number {
    let latest = 0;
    for (const { lastSeenAtMs } of this.#sources.values()) latest = Math.max(latest, lastSeenAtMs);
    return latest;
  }

  /** False for a frame that was here before. */
  see(gatewayId: string, bootId: string, frameSeq: number, seq: number, storedAtMs: number, changes: Changes): boolean {
    const id = `${gatewayId} ${bootId}`;
    const source = this.#sources.get(id) ?? { gatewayId, bootId, runs: [], lastSeenSeq: 0, lastSeenAtMs: 0 };
    const isNew = add(source.runs, frameSeq);
    if (source.runs.length > runsMax) {
      const [[first], [, last]] = source.runs.splice(0, 2) as [[number, number], [number, number]];
      source.runs.unshift([first, last]);
      changes.count('holes_given_up');
    }
    source.lastSeenSeq = seq;
    source.lastSeenAtMs = storedAtMs;
    this.#sources.delete(id);
    this.#sources.set(id, source);
    this.#touched.add(source);
    if (this.#sources.size > sourcesMax) this.#forgetOldest(changes);
    return isNew;
  }

  /** Writes what was touched since the last time. */
  flush(changes: Changes): void {
    for (const { gatewayId, bootId, runs, lastSeenSeq, lastSeenAtMs } of this.#touched) {
      changes.put(ledgerSourceTable, {
        gateway_id: gatewayId,
        boot_id: bootId,
        runs: runs.map(([first, last]) => [first, last]),
        last_seen_seq: lastSeenSeq,
        last_seen_at: lastSeenAtMs,
      });
    }
    this.#touched.clear();
  }

  #forgetOldest(changes: Changes): void {
    const [id, source] = this.#sources.entries().next().value as [string, Source];
    this.#sources.delete(id);
    this.#touched.delete(source);
    changes.delete(ledgerSourceTable, { gateway_id: source.gatewayId, boot_id: source.bootId });
    changes.count('sources_forgotten');
  }
}

/** Adds a number to ascending runs, which grow together. False where it is in one. */
function add(runs: [number, number][], number: number): boolean {
  let at = runs.length - 1;
  while (at >= 0 && (runs[at] as [number, number])[0] > number) at--;
  const before = runs[at];
  if (before !== undefined && number <= before[1]) return false;
  const after = runs[at + 1];
  const joins = before !== undefined && before[1] === number - 1;
  if (joins) before[1] = number;
  if (after !== undefined && after[0] === number + 1) {
    if (joins) {
      before[1] = after[1];
      runs.splice(at + 1, 1);
    } else after[0] = number;
  } else if (!joins) runs.splice(at + 1, 0, [number, number]);
  return true;
}
