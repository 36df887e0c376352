import { CodedError } from '#libs/kernel';
import { applyChanges } from './changes.ts';
import type { Projection, StateRows } from './projection.ts';
import { projectionId } from './projection.ts';
import type { Generation, Halt, Move, Opened, ProjectionStore } from './store.ts';
import type { Row, Table } from './table.ts';
import { keyText } from './table.ts';

interface Build {
  seq: number;
  writer: string;
  headSeq: number;
  halt: Halt | undefined;
  counts: Map<string, number>;
  readonly rows: Map<Table, Map<string, Row>>;
}

/** Tables in memory with the same guard as in Postgres. For simulation, and for a run without a database. */
export class MemoryProjectionStore implements ProjectionStore {
  readonly #builds = new Map<string, Build>();

  async open(projection: Projection): Promise<Opened> {
    const id = projectionId(projection);
    let build = this.#builds.get(id);
    if (build === undefined) {
      const rows = new Map(projection.tables.map((table) => [table, new Map<string, Row>()]));
      build = { seq: 0, writer: '', headSeq: 0, halt: undefined, counts: new Map(), rows };
      this.#builds.set(id, build);
    }
    const state: StateRows = new Map(
      projection.tables
        .filter((table) => table.state === true)
        .map((table) => [table.name, this.rows(projection, table)]),
    );
    const { name, version } = projection;
    return { generation: { name, version, generation: 1 }, phase: 'live', seq: build.seq, state };
  }

  async move(generation: Generation, move: Move): Promise<'moved' | 'fenced'> {
    const build = this.#of(generation);
    if (build.seq !== move.fromSeq) return 'fenced';
    for (const [table, changes] of move.changes.tables)
      applyChanges(build.rows.get(table) as Map<string, Row>, changes);
    for (const [table, appended] of move.changes.appended) {
      const rows = build.rows.get(table) as Map<string, Row>;
      for (const row of appended.rows()) rows.set(keyText(table, row), row);
    }
    for (const [name, by] of move.changes.counts) build.counts.set(name, (build.counts.get(name) ?? 0) + by);
    build.seq = move.toSeq;
    build.writer = move.writer;
    build.headSeq = Math.max(build.headSeq, move.headSeq);
    build.halt = undefined;
    return 'moved';
  }

  async position(generation: Generation): Promise<{ seq: number; writer: string }> {
    const { seq, writer } = this.#of(generation);
    return { seq, writer };
  }

  async halt(generation: Generation, halt: Halt): Promise<void> {
    this.#of(generation).halt = halt;
  }

  /** There is one build of each here, and it is live. */
  async swap(): Promise<'swapped'> {
    return 'swapped';
  }

  async report(generation: Generation, headSeq: number): Promise<void> {
    this.#of(generation).headSeq = headSeq;
  }

  /** Rows in the order of their first writing. */
  rows(projection: Projection, table: Table): Row[] {
    return [...(this.#builds.get(projectionId(projection))?.rows.get(table)?.values() ?? [])];
  }

  /** Counters, halt and place of a projection that was opened. */
  checkpoint(projection: Projection): {
    seq: number;
    headSeq: number;
    halt: Halt | undefined;
    counts: ReadonlyMap<string, number>;
  } {
    return this.#of({ ...projection, generation: 1 });
  }

  #of(generation: Generation): Build {
    const build = this.#builds.get(projectionId(generation));
    if (build !== undefined) return build;
    throw new CodedError('PROJECTION_UNKNOWN', `${projectionId(generation)} was not opened`);
  }
}
