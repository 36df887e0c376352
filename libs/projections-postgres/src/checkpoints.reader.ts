import type { Database } from './database.ts';
import { projectionEntity } from './entities.ts';
import { Reader } from './reader.ts';
import type { ProjectionRow } from './rows.ts';

/** A projector that has given no sign of life for so long is taken to be gone. Its own period is one second. */
const silentMsMax = 10_000;
const waitPollMs = 15;

export interface Checkpoint extends ProjectionRow {
  /** "requests@2" */
  readonly id: string;
  /** Commits or frames in the stream that are not in the rows yet, as of `reportedAtMs`. */
  readonly lag: number;
  readonly state: 'following' | 'behind' | 'halted' | 'silent' | 'retired';
  /** True when the rows do not follow the log: halted, or nobody at work. */
  readonly stale: boolean;
}

export class CheckpointsReader {
  readonly #database: Database;
  readonly #rows: Reader<ProjectionRow>;

  constructor(database: Database) {
    this.#database = database;
    this.#rows = new Reader(database, projectionEntity);
  }

  /** Of every build, live ones first. */
  async list(): Promise<Checkpoint[]> {
    const rows = await this.#rows.read(
      async (all) => await all.find({ order: { phase: 'DESC', name: 'ASC', generation: 'ASC' } }),
    );
    const rank = { live: 0, building: 1, retired: 2 };
    return rows.map((row) => this.#checkpoint(row)).sort((a, b) => rank[a.phase] - rank[b.phase]);
  }

  /** The build that readers see, or undefined before it was made. */
  async live(name: string): Promise<Checkpoint | undefined> {
    const row = await this.#rows.read(async (all) => await all.findOne({ where: { name, phase: 'live' } }));
    return row === null ? undefined : this.#checkpoint(row);
  }

  /**
   * Read your writes: resolves true when the live rows hold everything up to `seq`, false when they did not within `waitMsMax`.
   */
  async waitFor(name: string, seq: number, waitMsMax: number): Promise<boolean> {
    const { clock, timers } = this.#database.environment;
    const untilMs = clock.monotonicMs() + waitMsMax;
    for (;;) {
      const [row] = await this.#database.query<{ seq: number }>(
        `select seq from lintel.projection where name = $1 and phase = 'live'`,
        [name],
        'projection-seq',
      );
      if (row !== undefined && row.seq >= seq) return true;
      if (clock.monotonicMs() >= untilMs) return false;
      await timers.sleep(waitPollMs);
    }
  }

  #checkpoint(row: ProjectionRow): Checkpoint {
    const lag = Math.max(0, row.headSeq - row.seq);
    const silentMs = this.#database.environment.clock.nowMs() - (row.reportedAtMs ?? -Infinity);
    let state: Checkpoint['state'] = lag === 0 ? 'following' : 'behind';
    if (silentMs > silentMsMax) state = 'silent';
    if (row.haltedCode !== null) state = 'halted';
    if (row.phase === 'retired') state = 'retired';
    const stale = state === 'halted' || state === 'silent';
    return { ...row, id: `${row.name}@${row.version}`, lag, state, stale };
  }
}
