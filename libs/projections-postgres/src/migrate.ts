import type { Projection } from '#libs/projections';
import type { Database } from './database.ts';
import { databaseError } from './errors.ts';
import { projections } from './projections.ts';
import { PostgresProjectionStore } from './store.ts';

/**
 * Brings the database to this version: TypeORM's migrations, then tables for each projection that has none. Safe when several processes do it
 * at once: the first works, the others wait and find it done. Answers the names of the migrations that ran.
 * @throws DB_UNAVAILABLE · DB_FORBIDDEN · DB_FAILED · PROJECTION_SHAPE_CHANGED · PROJECTION_SUPERSEDED
 */
export async function migrate(database: Database, of: readonly Projection[] = projections): Promise<string[]> {
  const source = await database.connected();
  const ran = await database.transaction(async (client) => {
    await client.query(`select pg_advisory_xact_lock(hashtext('lintel.migrate'))`);
    try {
      return (await source.runMigrations({ transaction: 'all' })).map(({ name }) => name);
    } catch (error) {
      throw databaseError((error as { driverError?: unknown }).driverError ?? error);
    }
  });
  const store = new PostgresProjectionStore(database);
  for (const projection of of) await store.open(projection);
  return ran;
}
