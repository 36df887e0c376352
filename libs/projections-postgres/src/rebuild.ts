import { CodedError } from '#libs/kernel';
import type { Item, ItemSource, Projection, RunnerStatus } from '#libs/projections';
import { projectionId, ProjectionRunner } from '#libs/projections';
import type { Database } from './database.ts';
import { quote, schemaName } from './ddl.ts';
import { seedFromLive } from './seed.ts';
import { PostgresProjectionStore } from './store.ts';

export interface RebuildProgress {
  readonly projection: string;
  readonly seq: number;
  readonly headSeq: number;
  readonly itemsPerSecond: number;
}

export interface RebuildOptions<I extends Item> {
  readonly database: Database;
  readonly projection: Projection<I>;
  readonly source: ItemSource<I> & { firstSeq?(): Promise<number> };
  /** At most once per second. */
  readonly onProgress?: (progress: RebuildProgress) => void;
  /** Stops; what was built stays, and the next call goes on from there. */
  readonly signal?: AbortSignal;
}

const progressMs = 1_000;
const pollMs = 50;
const swapLagMax = 1_000;
const swapAttemptsMax = 20;
const batchItemsMax = 2_000;

/**
 * Folds the whole stream into fresh tables beside the ones in use, then swaps the readers' views in one transaction. Resumable: a killed
 * rebuild goes on where it stopped. The projector at work meanwhile is fenced by the swap and goes on with the new tables.
 * @throws PROJECTION_REBUILD_STOPPED (by the signal) · PROJECTION_REBUILD_ELSEWHERE · PROJECTION_REBUILD_HALTED · DB_UNAVAILABLE
 */
export async function rebuild<I extends Item>(
  options: RebuildOptions<I>,
): Promise<{ seq: number; durationMs: number }> {
  const { database, projection, source, signal } = options;
  const { clock, timers } = database.environment;
  const id = projectionId(projection);
  const store = new PostgresProjectionStore(database, { building: true });
  const opened = await store.open(projection as Projection);
  const startedMs = clock.monotonicMs();
  const firstSeq = (await source.firstSeq?.()) ?? 1;
  if (opened.seq === 0 && firstSeq > 1)
    await seedFromLive(database, projection as Projection, opened.generation, firstSeq);

  const limits = { batchItemsMax, bufferItemsMax: batchItemsMax * 2 };
  const runner = new ProjectionRunner({ projection, source, store, environment: database.environment, limits });
  let ended: RunnerStatus | undefined;
  void runner.start().then((status) => (ended = status));
  let saidMs = startedMs;
  let swaps = 0;
  try {
    for (;;) {
      if (signal?.aborted === true) {
        throw new CodedError('PROJECTION_REBUILD_STOPPED', `${id}: stopped at ${runner.status.seq}`, {
          advice: 'What was built is kept: run the rebuild again to go on.',
        });
      }
      if (ended !== undefined) throw endedEarly(id, ended);
      const { seq, headSeq } = runner.status;
      const nowMs = clock.monotonicMs();
      if (seq !== undefined && headSeq !== undefined) {
        if (nowMs - saidMs >= progressMs) {
          saidMs = nowMs;
          const itemsPerSecond = Math.round(((seq - opened.seq) * 1000) / (nowMs - startedMs));
          options.onProgress?.({ projection: id, seq, headSeq, itemsPerSecond });
        }
        if (headSeq - seq <= swapLagMax) {
          if ((await store.swap(projection as Projection, opened.generation)) === 'swapped') break;
          if (++swaps === swapAttemptsMax) {
            throw new CodedError('PROJECTION_REBUILD_BEHIND', `${id}: does not catch up with the live tables`, {
              advice: 'What was built is kept: run the rebuild again when less is being written.',
            });
          }
        }
      }
      await timers.sleep(pollMs);
    }
  } finally {
    await runner.stop();
  }
  return { seq: runner.status.seq ?? 0, durationMs: clock.monotonicMs() - startedMs };
}

function endedEarly(id: string, status: RunnerStatus): CodedError {
  if (status.state === 'fenced') {
    return new CodedError('PROJECTION_REBUILD_ELSEWHERE', `${id} is being rebuilt by another process`, {
      advice: 'Wait for it; lintel get projections shows how far it is.',
    });
  }
  return new CodedError('PROJECTION_REBUILD_HALTED', `${id}: halted at ${status.halt?.seq}: ${status.halt?.reason}`, {
    advice: 'The tables in use were left as they are. Mend what the reason names and run the rebuild again.',
  });
}

/** How long replaced tables are kept, in case the new ones turn out wrong. */
const retiredKeptMsDefault = 86_400_000;

/** Drops tables that were swapped out longer ago than `keptMs`. Answers their schemas. */
export async function dropRetired(database: Database, keptMs: number = retiredKeptMsDefault): Promise<string[]> {
  return await database.transaction(async (client) => {
    const { rows } = await client.query<{ schema_name: string }>(
      `delete from lintel.projection where phase = 'retired' and retired_at < clock_timestamp() - $1 * interval '1 millisecond' returning schema_name`,
      [keptMs],
    );
    for (const { schema_name } of rows) await client.query(`drop schema if exists ${quote(schema_name)} cascade`);
    return rows.map(({ schema_name }) => schema_name);
  });
}

/**
 * Forgets everything that was projected and makes empty tables: for a log that starts anew, as the one in memory does at each start.
 * Call it before any projector runs.
 */
export async function resetProjections(database: Database, projections: readonly Projection[]): Promise<void> {
  await database.transaction(async (client) => {
    await client.query(`select pg_advisory_xact_lock(hashtext('lintel.projection'))`);
    for (const { name } of projections) {
      const { rows } = await client.query<{ version: number; generation: number }>(
        `delete from lintel.projection where name = $1 returning version, generation`,
        [name],
      );
      for (const { version, generation } of rows) {
        await client.query(`drop schema if exists ${quote(schemaName(name, version, generation))} cascade`);
      }
    }
  });
  const store = new PostgresProjectionStore(database);
  for (const projection of projections) await store.open(projection);
}
