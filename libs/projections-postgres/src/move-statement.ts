import { createHash } from 'node:crypto';
import type { Change, ColumnKind, Move, Generation, Table, Value } from '#libs/projections';
import { binaryArray, pgTypes } from './binary-values.ts';
import { copyMessages } from './copy-rows.ts';
import { quote } from './ddl.ts';
import type { Copy } from './move-query.ts';
import { MoveQuery } from './move-query.ts';

export interface Statement {
  /** Same text, same name: prepared once per connection. */
  readonly name: string;
  readonly text: string;
  readonly values: unknown[];
}

interface Group {
  readonly table: Table;
  readonly op: Change['op'];
  readonly columns: readonly string[];
  readonly rows: Record<string, Value>[];
}

/** Changes that one `unnest` can carry: same table, same kind, same columns. */
function group(changes: Move['changes']): Group[] {
  const groups = new Map<string, Group>();
  for (const [table, byKey] of changes.tables) {
    let puts: Group | undefined;
    for (const { op, row } of byKey.values()) {
      if (op === 'put') {
        if (puts === undefined) {
          puts = { table, op, columns: Object.keys(table.columns), rows: [] };
          groups.set(`${table.name} put`, puts);
        }
        puts.rows.push(row);
        continue;
      }
      const columns = op === 'delete' ? [...table.key] : Object.keys(row).sort();
      const id = `${table.name} ${op} ${columns.join()}`;
      const known = groups.get(id);
      if (known === undefined) groups.set(id, { table, op, columns, rows: [row] });
      else known.rows.push(row);
    }
  }
  return [...groups.values()];
}

interface EncodedGroup extends Omit<Group, 'rows'> {
  readonly arrays: readonly Buffer[];
}

/** Changes in the form in which they travel. */
export interface EncodedChanges {
  /** Of tables whose rows change, by `unnest`. */
  readonly merged: readonly EncodedGroup[];
  /** Of `appendOnly` tables, by COPY. */
  readonly copied: readonly { readonly table: Table; readonly columns: readonly string[]; readonly messages: Buffer }[];
}

/** The costly part of a move, which needs nothing but the changes. */
export function encodeChanges(changes: Move['changes']): EncodedChanges {
  const copied = [...changes.appended].map(([table, rows]) => {
    return { table, columns: [...rows.columns.keys()], messages: copyMessages(rows) };
  });
  return { merged: encodeMerged(changes), copied };
}

/** As `encodeChanges`, with all rows by `unnest`: only so can they be written over others. */
export function encodeToOverwrite(changes: Move['changes']): EncodedChanges {
  const appended = [...changes.appended].map(([table, { columns }]) => {
    const arrays = [...columns].map(([name, values]) => binaryArray(table.columns[name] as ColumnKind, values));
    return { table, op: 'put' as const, columns: [...columns.keys()], arrays };
  });
  return { merged: [...appended, ...encodeMerged(changes)], copied: [] };
}

function encodeMerged(changes: Move['changes']): EncodedGroup[] {
  return group(changes).map(({ table, op, columns, rows }) => {
    const values = (column: string): Value[] => rows.map((row) => row[column] as Value);
    const arrays = columns.map((column) => binaryArray(table.columns[column] as ColumnKind, values(column)));
    return { table, op, columns, arrays };
  });
}

/** `unnest($7::text[], …)` over the group's rows; the arrays are appended to `values`. */
function unnest({ table, columns, arrays: encoded }: EncodedGroup, values: unknown[]): string {
  const arrays = columns.map((column, index) => {
    values.push(encoded[index]);
    return `$${values.length}::${pgTypes[table.columns[column] as ColumnKind].sql}[]`;
  });
  return `unnest(${arrays.join(', ')}) as u(${columns.map(quote).join(', ')})`;
}

function write(schema: string, change: EncodedGroup, values: unknown[]): string {
  const { table, op, columns } = change;
  const place = `${quote(schema)}.${quote(table.name)}`;
  const source = unnest(change, values);
  const sameRow = table.key.map((column) => `t.${quote(column)} = u.${quote(column)}`).join(' and ');
  const others = columns.filter((column) => !table.key.includes(column)).map(quote);
  if (op === 'delete')
    return `delete from ${place} t using ${source} where ${sameRow} and exists (select 1 from moved)`;
  if (op === 'patch') {
    const set = others.map((column) => `${column} = u.${column}`).join(', ');
    return `update ${place} t set ${set} from ${source} where ${sameRow} and exists (select 1 from moved)`;
  }
  const key = table.key.map(quote).join(', ');
  const update = others.map((column) => `${column} = excluded.${column}`).join(', ');
  const names = columns.map(quote).join(', ');
  // One statement cannot write over a row twice.
  const select = table.appendOnly === true ? `select distinct on (${key})` : 'select';
  const insert = `insert into ${place} (${names}) ${select} ${names} from ${source} where exists (select 1 from moved)`;
  return `${insert} on conflict (${key}) do ${others.length === 0 ? 'nothing' : `update set ${update}`}`;
}

/** Moves the checkpoint if it is where we left it and the build is in use: everything else in the statement hangs on this. */
const guard = `
  update lintel.projection set seq = $5, writer = $6, items = items + $7, head_seq = greatest(head_seq, $8, $5),
    counts = counts || (select coalesce(jsonb_object_agg(c.key, coalesce((counts ->> c.key)::int8, 0) + c.value::int8), '{}')
      from jsonb_each_text($9::jsonb) c),
    halted_seq = null, halted_code = null, halted_reason = null, moved_at = clock_timestamp(), reported_at = clock_timestamp()
  where name = $1 and version = $2 and generation = $3 and seq = $4 and phase <> 'retired'
  returning 1`;

/** What the server says where the guard moved nothing: it divided by the number of checkpoints moved. */
export const fencedSqlState = '22012';

/**
 * One transaction for checkpoint and rows. One statement moves the checkpoint and the rows of tables that change: several tables are several
 * `with` parts, all see the database as it was before, and no row stands in two of them, because a batch holds at most one change per row. It
 * fails where the checkpoint is not where we left it, and the copies behind it with it.
 */
export function moveQuery(schema: string, generation: Generation, move: Move, encoded: EncodedChanges): MoveQuery {
  const counts = Object.fromEntries(move.changes.counts);
  const { name, version, generation: number } = generation;
  const values: unknown[] = [name, version, number, move.fromSeq, move.toSeq, move.writer, move.items, move.headSeq];
  values.push(JSON.stringify(counts));
  const parts = encoded.merged.map((change, index) => `w${index} as (${write(schema, change, values)})`);
  const text = `with ${[`moved as (${guard})`, ...parts].join(', ')} select 1 / count(*) from moved`;
  const statement = { name: createHash('sha1').update(text).digest('base64url'), text, values };
  const copies = encoded.copied.map(({ table, columns, messages }): Copy => {
    const into = `${quote(schema)}.${quote(table.name)} (${columns.map(quote).join(', ')})`;
    return { text: `copy ${into} from stdin (format binary)`, messages };
  });
  return new MoveQuery(statement, copies);
}
