/** How a value stands in memory and in Postgres: `int` and `time` are JavaScript numbers (time: ms since the epoch). */
export type ColumnKind = 'text' | 'int' | 'float' | 'bool' | 'json' | 'bytes' | 'time';

/** `null` is "not known", also for numbers that are not finite. */
export type Value = string | number | boolean | Uint8Array | JsonValue | null;
export type JsonValue = string | number | boolean | null | JsonValue[] | { [name: string]: JsonValue };

export type Row = Readonly<Record<string, Value>>;

/**
 * One table of a projection. Its shape belongs to `name@version` for good: a change is a new version, which is built beside
 * the old one.
 */
export interface Table {
  readonly name: string;
  readonly columns: Readonly<Record<string, ColumnKind>>;
  /** Columns that make a row one; never null. */
  readonly key: readonly string[];
  /** "column" or "column desc" lists; "column hash" alone for a long and nearly unique text that is only asked for as a whole. */
  readonly indexes?: readonly (readonly string[])[];
  /** A `time` column that is part of the key of an `appendOnly` table: one partition per UTC day, dropped whole when its days are over. */
  readonly partitionByDay?: string;
  /** Read back whole when the projection is opened: what its fold must know. Kept small by the fold. */
  readonly state?: boolean;
  /** Rows are only ever put whole, and are kept as columns (AppendedRows). Lets large tables be compared row by row without being held in memory. */
  readonly appendOnly?: boolean;
  /** Name of the view that readers select from; none for a table that is the projector's own. */
  readonly view?: string;
}

/** The text of a row's key, unique in its table. */
export function keyText(table: Table, row: Row): string {
  if (table.key.length === 1) return String(row[table.key[0] as string]);
  return JSON.stringify(table.key.map((column) => row[column]));
}
