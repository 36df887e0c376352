import { requestTable } from '#libs/projections';
import type { Database } from './database.ts';
import { dropOldPartitions, requestDaysKeptDefault } from './partitions.ts';
import { dropRetired } from './rebuild.ts';

export interface MaintenanceOptions {
  readonly requestDaysKept?: number;
  readonly retiredKeptMs?: number;
}

/**
 * What has to be done now and then (each hour is plenty; twice at once does no harm): drops days of requests that are over and tables that were
 * swapped out long ago. Answers what was dropped.
 * @throws DB_UNAVAILABLE
 */
export async function maintain(database: Database, options: MaintenanceOptions = {}): Promise<string[]> {
  const days = options.requestDaysKept ?? requestDaysKeptDefault;
  const builds = await database.query<{ schema_name: string }>(
    `select schema_name from lintel.projection where name = 'requests' and phase <> 'retired'`,
  );
  const dropped: string[] = [];
  for (const { schema_name } of builds)
    dropped.push(...(await dropOldPartitions(database, schema_name, requestTable, days)));
  return [...dropped, ...(await dropRetired(database, options.retiredKeptMs))];
}
