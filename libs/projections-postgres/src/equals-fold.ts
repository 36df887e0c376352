import { createHash } from 'node:crypto';
import type pg from 'pg';
import { CodedError } from '#libs/kernel';
import type { Item, Projection, Row, Table, Value } from '#libs/projections';
import { applyChanges, Changes, keyText, projectionId } from '#libs/projections';
import type { Database } from './database.ts';
import { quote, schemaName } from './ddl.ts';

export interface TableComparison {
  readonly table: string;
  /** False where the stream no longer holds what the rows were made from; `note` says so. */
  readonly compared: boolean;
  readonly rows: number;
  readonly rowsExpected: number;
  /** sha256 over the rows in the order of their keys. */
  readonly hash: string;
  readonly hashExpected: string;
  /** The first row, by key, that is not as the log says. */
  readonly difference: RowDifference | undefined;
  readonly note: string;
}

export interface RowDifference {
  readonly kind: 'different' | 'missing' | 'extra';
  readonly key: Row;
  /** Columns that differ; empty where only hashes were kept. */
  readonly columns: readonly string[];
}

export interface FoldComparison {
  readonly projection: string;
  readonly equal: boolean;
  /** The checkpoint up to which rows and log were compared. */
  readonly seq: number;
  readonly tables: readonly TableComparison[];
}

export interface EqualsFoldOptions<I extends Item> {
  readonly database: Database;
  readonly projection: Projection<I>;
  readonly source: {
    read(range: { fromSeq: number; toSeq?: number }): AsyncIterable<I>;
    firstSeq?(): Promise<number>;
  };
}

const batchItemsMax = 1_000;
const pageRowsMax = 2_000;

function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (value instanceof Uint8Array) return createHash('sha256').update(value).digest('base64');
  if (value === null || typeof value !== 'object') return value;
  const entries = Object.entries(value).map(([name, inner]): [string, unknown] => [name, canonical(inner)]);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function rowHash(table: Table, row: Row): string {
  const values = Object.keys(table.columns).map((name) => canonical(row[name] ?? null));
  return createHash('sha256').update(JSON.stringify(values)).digest('base64');
}

/** The order of Postgres' "C" collation: bytes of UTF-8. */
function compareValues(a: Value, b: Value): number {
  if (typeof a === 'string' && typeof b === 'string')
    return a === b ? 0 : Buffer.compare(Buffer.from(a), Buffer.from(b));
  return (a as number) - (b as number);
}

interface Expected {
  readonly key: readonly Value[];
  readonly hash: string;
  /** Kept where the table is small by nature. */
  readonly row: Row | undefined;
}

/** What one table should hold, as the fold says. Large tables keep only hashes. */
class ExpectedTable {
  readonly #rows = new Map<string, Row>();
  readonly #hashes = new Map<string, Expected>();

  constructor(readonly table: Table) {}

  take(changes: Changes): void {
    const byKey = changes.tables.get(this.table);
    if (byKey !== undefined) applyChanges(this.#rows, byKey);
    for (const row of changes.appended.get(this.table)?.rows() ?? [])
      this.#hashes.set(keyText(this.table, row), {
        key: this.#key(row),
        hash: rowHash(this.table, row),
        row: undefined,
      });
  }

  #key(row: Row): Value[] {
    return this.table.key.map((column) => row[column] as Value);
  }

  sorted(): Expected[] {
    const all =
      this.table.appendOnly === true
        ? [...this.#hashes.values()]
        : [...this.#rows.values()].map((row) => ({ key: this.#key(row), hash: rowHash(this.table, row), row }));
    return all.sort((a, b) => {
      for (let index = 0; index < a.key.length; index++) {
        const order = compareValues(a.key[index] as Value, b.key[index] as Value);
        if (order !== 0) return order;
      }
      return 0;
    });
  }
}

const keyOf = (table: Table, key: readonly Value[]): Row =>
  Object.fromEntries(table.key.map((column, index) => [column, key[index] as Value]));

async function* pages(client: pg.PoolClient, schema: string, table: Table, where: string): AsyncIterable<Row[]> {
  const order = table.key
    .map((column) => `${quote(column)}${table.columns[column] === 'text' ? ' collate "C"' : ''}`)
    .join(', ');
  await client.query(
    `declare compared no scroll cursor for select * from ${quote(schema)}.${quote(table.name)} ${where} order by ${order}`,
  );
  for (;;) {
    const { rows } = await client.query<Row>(`fetch ${pageRowsMax} from compared`);
    if (rows.length === 0) break;
    yield rows;
  }
  await client.query('close compared');
}

async function compareTable(
  client: pg.PoolClient,
  schema: string,
  expected: ExpectedTable,
  where: string,
  keep: (key: readonly Value[]) => boolean,
): Promise<TableComparison> {
  const { table } = expected;
  const wanted = expected.sorted().filter(({ key }) => keep(key));
  const ours = createHash('sha256');
  const theirs = createHash('sha256');
  for (const { hash } of wanted) theirs.update(hash);
  let difference: RowDifference | undefined;
  let at = 0;
  let rows = 0;
  for await (const page of pages(client, schema, table, where)) {
    for (const row of page) {
      rows++;
      const hash = rowHash(table, row);
      ours.update(hash);
      if (difference !== undefined) continue;
      const next = wanted[at];
      const key = table.key.map((column) => row[column] as Value);
      const order = next === undefined ? -1 : firstOrder(key, next.key);
      if (next === undefined || order < 0) difference = { kind: 'extra', key: keyOf(table, key), columns: [] };
      else if (order > 0) difference = { kind: 'missing', key: keyOf(table, next.key), columns: [] };
      else if (hash !== next.hash)
        difference = { kind: 'different', key: keyOf(table, key), columns: differing(table, row, next.row) };
      at++;
    }
  }
  const left = wanted[at];
  if (difference === undefined && left !== undefined)
    difference = { kind: 'missing', key: keyOf(table, left.key), columns: [] };
  return {
    table: table.name,
    compared: true,
    rows,
    rowsExpected: wanted.length,
    hash: ours.digest('hex'),
    hashExpected: theirs.digest('hex'),
    difference,
    note: '',
  };
}

function firstOrder(a: readonly Value[], b: readonly Value[]): number {
  for (let index = 0; index < a.length; index++) {
    const order = compareValues(a[index] as Value, b[index] as Value);
    if (order !== 0) return order;
  }
  return 0;
}

function differing(table: Table, row: Row, expected: Row | undefined): string[] {
  if (expected === undefined) return [];
  return Object.keys(table.columns).filter(
    (name) => JSON.stringify(canonical(row[name] ?? null)) !== JSON.stringify(canonical(expected[name] ?? null)),
  );
}

/**
 * Folds the log again, in memory and from its beginning, and compares every row of the live tables with what comes out.
 * Rows and checkpoint are read in one snapshot, so that projectors may go on meanwhile.
 * @throws PROJECTION_UNKNOWN · DB_UNAVAILABLE · whatever reading the log throws
 */
export async function projectionEqualsFold<I extends Item>(options: EqualsFoldOptions<I>): Promise<FoldComparison> {
  const { database, projection, source } = options;
  const id = projectionId(projection);
  return await database.transaction(async (client) => {
    await client.query('set transaction isolation level repeatable read, read only');
    await client.query('set local statement_timeout = 0');
    const { rows } = await client.query<{ generation: number; seq: number }>(
      `select generation, seq from lintel.projection where name = $1 and version = $2 and phase = 'live'`,
      [projection.name, projection.version],
    );
    const live = rows[0];
    if (live === undefined) {
      throw new CodedError('PROJECTION_UNKNOWN', `${id} has no live tables`, {
        advice: 'Start Lintel once, so that it makes them.',
      });
    }
    const schema = schemaName(projection.name, projection.version, live.generation);
    const firstSeq = (await source.firstSeq?.()) ?? 1;
    const expected = projection.tables.map((table) => new ExpectedTable(table));
    const fold = projection.begin(new Map(), firstSeq - 1);
    const flush = (items: I[]): void => {
      const changes = new Changes();
      fold.apply(items, changes);
      for (const table of expected) table.take(changes);
    };
    let batch: I[] = [];
    if (live.seq >= firstSeq) {
      for await (const item of source.read({ fromSeq: firstSeq, toSeq: live.seq })) {
        batch.push(item);
        if (batch.length < batchItemsMax) continue;
        flush(batch);
        batch = [];
      }
    }
    flush(batch);
    const tables: TableComparison[] = [];
    for (const table of expected) tables.push(await compare(client, schema, table, firstSeq));
    return { projection: id, equal: tables.every(({ difference }) => difference === undefined), seq: live.seq, tables };
  });
}

/** Only what stream and tables both still hold can be compared: the stream drops old frames, the tables drop old days. */
async function compare(
  client: pg.PoolClient,
  schema: string,
  expected: ExpectedTable,
  firstSeq: number,
): Promise<TableComparison> {
  const { table } = expected;
  if (firstSeq > 1 && table.columns['stream_seq'] === undefined) {
    const note = `the stream begins at ${firstSeq}: what came before is needed to tell`;
    return {
      table: table.name,
      compared: false,
      rows: 0,
      rowsExpected: 0,
      hash: '',
      hashExpected: '',
      difference: undefined,
      note,
    };
  }
  if (firstSeq > 1 && table.partitionByDay === undefined) {
    const note = `the stream begins at ${firstSeq}: holes around that place cannot be told`;
    return {
      table: table.name,
      compared: false,
      rows: 0,
      rowsExpected: 0,
      hash: '',
      hashExpected: '',
      difference: undefined,
      note,
    };
  }
  if (table.partitionByDay === undefined) return await compareTable(client, schema, expected, '', () => true);
  const { rows } = await client.query<{ day: string }>(
    `select substring(c.relname from '\\d{8}$') as day from pg_inherits i join pg_class c on c.oid = i.inhrelid
     where i.inhparent = $1::regclass`,
    [`${quote(schema)}.${quote(table.name)}`],
  );
  const kept = new Set(rows.map(({ day }) => day));
  const place = table.key.indexOf(table.partitionByDay);
  const dayOf = (key: readonly Value[]): string =>
    new Date(key[place] as number).toISOString().slice(0, 10).replaceAll('-', '');
  const where = firstSeq > 1 ? `where stream_seq >= ${firstSeq}` : '';
  return await compareTable(client, schema, expected, where, (key) => kept.has(dayOf(key)));
}
