import type { ColumnKind, Row, Table, Value } from './table.ts';
import { keyText } from './table.ts';
import { normalize } from './value.ts';

/** What a batch does to one row. A batch holds at most one change per row, so that their order does not matter. */
export type Change =
  | { readonly op: 'put'; readonly row: Record<string, Value> }
  /** Changes columns of a row that is there; nothing where it is not. `row` holds the key too. */
  | { readonly op: 'patch'; readonly row: Record<string, Value> }
  | { readonly op: 'delete'; readonly row: Record<string, Value> };

/**
 * New rows of an `appendOnly` table, column by column: they are only ever put whole, so that nothing is merged, and a batch of thousands is a
 * few arrays instead of thousands of objects that outlive the young generation. The same row may stand there twice.
 */
export class AppendedRows {
  readonly columns: ReadonlyMap<string, Value[]>;
  readonly #columns: readonly { readonly name: string; readonly kind: ColumnKind; readonly values: Value[] }[];
  #count = 0;

  constructor(readonly table: Table) {
    this.#columns = Object.entries(table.columns).map(([name, kind]) => ({ name, kind, values: [] }));
    this.columns = new Map(this.#columns.map(({ name, values }) => [name, values]));
  }

  get count(): number {
    return this.#count;
  }

  add(row: Row): void {
    for (const { name, kind, values } of this.#columns) values.push(normalize(kind, row[name]));
    this.#count++;
  }

  *rows(): Generator<Row> {
    for (let index = 0; index < this.#count; index++) {
      yield Object.fromEntries(this.#columns.map(({ name, values }) => [name, values[index] as Value]));
    }
  }
}

/** The row changes of one batch, merged while they are collected. */
export class Changes {
  readonly #tables = new Map<Table, Map<string, Change>>();
  readonly #appended = new Map<Table, AppendedRows>();
  readonly #counts = new Map<string, number>();

  /** The whole row, with no other columns; those that are left out are null. It belongs to the changes from here on. */
  put(table: Table, row: Row): void {
    if (table.appendOnly === true) {
      this.#append(table).add(row);
      return;
    }
    let whole = row as Record<string, Value>;
    for (const name in table.columns) {
      const value = normalize(table.columns[name] as never, row[name]);
      if (value === row[name]) continue;
      // Most rows are as the table keeps them: a copy only of one that is not.
      if (whole === row) whole = { ...row };
      whole[name] = value;
    }
    this.#of(table).set(keyText(table, whole), { op: 'put', row: whole });
  }

  /** Some columns of a row, with its key. */
  patch(table: Table, row: Row): void {
    const part: Record<string, Value> = {};
    for (const name in row) part[name] = normalize(table.columns[name] as never, row[name]);
    const key = keyText(table, part);
    const changes = this.#of(table);
    const before = changes.get(key);
    if (before === undefined) changes.set(key, { op: 'patch', row: part });
    else if (before.op !== 'delete') changes.set(key, { op: before.op, row: { ...before.row, ...part } });
  }

  /** `key` holds the key columns. */
  delete(table: Table, key: Row): void {
    const columns: Record<string, Value> = {};
    for (const name of table.key) columns[name] = normalize(table.columns[name] as never, key[name]);
    this.#of(table).set(keyText(table, columns), { op: 'delete', row: columns });
  }

  /** Adds to a counter kept with the checkpoint: "forked", "duplicates", … */
  count(name: string, by = 1): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + by);
  }

  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  /** Of all tables but the `appendOnly` ones. */
  get tables(): ReadonlyMap<Table, ReadonlyMap<string, Change>> {
    return this.#tables;
  }

  get appended(): ReadonlyMap<Table, AppendedRows> {
    return this.#appended;
  }

  get rows(): number {
    let rows = 0;
    for (const changes of this.#tables.values()) rows += changes.size;
    for (const { count } of this.#appended.values()) rows += count;
    return rows;
  }

  #append(table: Table): AppendedRows {
    let appended = this.#appended.get(table);
    if (appended === undefined) this.#appended.set(table, (appended = new AppendedRows(table)));
    return appended;
  }

  #of(table: Table): Map<string, Change> {
    let changes = this.#tables.get(table);
    if (changes === undefined) this.#tables.set(table, (changes = new Map()));
    return changes;
  }
}

/** Does to rows in memory what the same changes do to a table. */
export function applyChanges(rows: Map<string, Row>, changes: ReadonlyMap<string, Change>): void {
  for (const [key, change] of changes) {
    if (change.op === 'put') rows.set(key, { ...change.row });
    else if (change.op === 'delete') rows.delete(key);
    else {
      const before = rows.get(key);
      if (before !== undefined) rows.set(key, { ...before, ...change.row });
    }
  }
}
