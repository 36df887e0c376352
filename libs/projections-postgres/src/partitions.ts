import type { Move, Table } from '#libs/projections';
import type { Database } from './database.ts';
import { dayMs, partitionStatement, quote } from './ddl.ts';

/** Makes partitions before rows need them, and forgets what it made when one turns out to be missing. */
export class Partitions {
  readonly #made = new Set<string>();
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  forget(): void {
    this.#made.clear();
  }

  async ensure(schema: string, changes: Move['changes']): Promise<void> {
    for (const [table, { columns }] of changes.appended) {
      if (table.partitionByDay === undefined) continue;
      const days = new Set<number>();
      for (const atMs of columns.get(table.partitionByDay) ?? []) {
        days.add(Math.floor((atMs as number) / dayMs) * dayMs);
      }
      for (const day of days) await this.#make(schema, table, day);
    }
  }

  async #make(schema: string, table: Table, dayStartMs: number): Promise<void> {
    const id = `${schema} ${table.name} ${dayStartMs}`;
    if (this.#made.has(id)) return;
    await this.#database.transaction(async (client) => {
      // `if not exists` alone races: two sessions may both find nothing.
      await client.query(`select pg_advisory_xact_lock(hashtext('lintel.partition'))`);
      await client.query(partitionStatement(schema, table, dayStartMs));
    });
    this.#made.add(id);
  }
}

/** Days that request rows are kept when nobody says otherwise. */
export const requestDaysKeptDefault = 14;

/**
 * Drops whole days that ended more than `daysKept` days ago. Answers the names of the partitions dropped.
 * @throws DB_UNAVAILABLE
 */
export async function dropOldPartitions(
  database: Database,
  schema: string,
  table: Table,
  daysKept: number = requestDaysKeptDefault,
): Promise<string[]> {
  const oldestMs = Math.floor(database.environment.clock.nowMs() / dayMs) * dayMs - daysKept * dayMs;
  const partitions = await database.query<{ name: string }>(
    `select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
     join pg_class p on p.oid = i.inhparent join pg_namespace n on n.oid = p.relnamespace
     where n.nspname = $1 and p.relname = $2 order by 1`,
    [schema, table.name],
  );
  const old = partitions.filter(({ name }) => {
    const day = /_(\d{4})(\d\d)(\d\d)$/.exec(name);
    return day !== null && Date.UTC(Number(day[1]), Number(day[2]) - 1, Number(day[3])) < oldestMs;
  });
  for (const { name } of old) await database.query(`drop table if exists ${quote(schema)}.${quote(name)}`);
  return old.map(({ name }) => name);
}
