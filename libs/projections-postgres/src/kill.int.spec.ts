import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Head } from '#libs/event-log';
import { emptyHead, MemoryEventLog } from '#libs/event-log';
import { errorCode, systemEnvironment } from '#libs/kernel';
import type { Projection } from '#libs/projections';
import { commits, ProjectionHost, replicas } from '#libs/projections';
import type { Database } from '#libs/projections-postgres';
import {
  CheckpointsReader,
  dropRetired,
  migrate,
  openDatabase,
  PostgresProjectionStore,
  projectionEqualsFold,
  rebuild,
} from '#libs/projections-postgres';
import type { LaunchedPostgres } from '#libs/testkit';
import { eventually, headAfter, launchPostgres, sampleCommit } from '#libs/testkit';

const environment = systemEnvironment;
const aggregates = 7;
const forkEvery = 13;
const kills = 3;
const recoveryMsMax = 40_000;

/** A log that grows, with a commit in it now and then that lost a race. */
class Growing {
  readonly log = new MemoryEventLog({ clock: environment.clock });
  readonly #heads = new Map<string, { head: Head; lastSeq: number }>();
  #written = 0;

  async grow(count: number): Promise<void> {
    for (let n = 0; n < count; n++) {
      const id = `r${this.#written++ % aggregates}`;
      const { head, lastSeq } = this.#heads.get(id) ?? { head: emptyHead, lastSeq: 0 };
      const commit = sampleCommit({ id, commitId: `c${this.#written}`, head, reason: `because ${this.#written}` });
      const { seq } = await this.log.append(commit, { ...head, seq: lastSeq });
      this.#heads.set(id, { head: headAfter(commit, seq), lastSeq: seq });
      if (this.#written % forkEvery !== 0) continue;
      const lost = sampleCommit({ id, commitId: `lost${this.#written}`, head, reason: 'too late' });
      const forked = await this.log.append(lost, { ...head, seq });
      this.#heads.set(id, { head: headAfter(commit, seq), lastSeq: forked.seq });
    }
  }
}

let postgres: LaunchedPostgres;
let database: Database;
const growing = new Growing();

const project = (): ProjectionHost => {
  const host = new ProjectionHost({
    store: new PostgresProjectionStore(database),
    environment,
    limits: { batchItemsMax: 20, bufferItemsMax: 40, retryMsMax: 200 },
  });
  for (const projection of [commits, replicas]) host.start({ projection, source: growing.log });
  return host;
};

/** Undefined while the database is away. */
async function isFold(projection: typeof commits): Promise<boolean | undefined> {
  try {
    return (await projectionEqualsFold({ database, projection, source: growing.log })).equal;
  } catch (thrown) {
    if (errorCode(thrown) === 'DB_UNAVAILABLE') return undefined;
    throw thrown;
  }
}

async function caughtUp(): Promise<void> {
  await eventually(async () => {
    const reader = new CheckpointsReader(database);
    const [one, other] = [await reader.live('commits'), await reader.live('replicas')];
    const last = await growing.log.lastSeq();
    expect([one?.seq, other?.seq]).toEqual([last, last]);
  }, recoveryMsMax);
}

beforeAll(async () => {
  postgres = await launchPostgres({ own: true });
  database = openDatabase({ url: postgres.url });
  await migrate(database);
});
afterAll(async () => {
  await database.close();
  await postgres.stop();
});

describe('rows and checkpoint on a real Postgres', () => {
  test('L4 the server killed again and again under two projectors, the rows are the fold of the log', async () => {
    const rivals = [project(), project()];
    let torn = 0;
    for (let kill = 0; kill < kills; kill++) {
      for (let part = 0; part < 10; part++) {
        await growing.grow(40);
        await environment.timers.sleep(20);
      }
      postgres.kill();
      await growing.grow(40);
      await eventually(async () => {
        const [one, other] = [await isFold(commits), await isFold(replicas)];
        // Whenever it answers, what stands there must be whole: a tear that heals is counted all the same.
        if (one === false || other === false) torn++;
        expect([one, other]).toEqual([true, true]);
      }, recoveryMsMax);
    }
    await caughtUp();
    expect(torn).toBe(0);
    expect([await isFold(commits), await isFold(replicas)]).toEqual([true, true]);
    await Promise.all(rivals.map((host) => host.stop()));
  }, 180_000);

  test('L4 a rebuild that was stopped goes on where it was and takes the place of the old tables', async () => {
    const host = project();
    await caughtUp();
    const options = { database, projection: commits, source: growing.log };
    await expect(rebuild({ ...options, signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'PROJECTION_REBUILD_STOPPED',
    });
    const { seq } = await rebuild(options);
    expect(seq).toBe(await growing.log.lastSeq());
    expect(await isFold(commits)).toBe(true);
    await growing.grow(30);
    await caughtUp();
    expect(await isFold(commits)).toBe(true);
    await host.stop();
    expect(await dropRetired(database, 0)).toHaveLength(1);
  }, 120_000);

  test('L4 a row that someone changed is named by its key', async () => {
    const schema = await liveSchema(commits as Projection);
    await database.query(`update "${schema}".head set version = version + 1 where subject like '%.r3'`);
    const { equal, tables } = await projectionEqualsFold({ database, projection: commits, source: growing.log });
    expect(equal).toBe(false);
    expect(tables.find(({ table }) => table === 'head')?.difference).toMatchObject({
      kind: 'different',
      key: { subject: 'lintel.ev.route.replica.r3' },
      columns: ['version'],
    });
  });
});

async function liveSchema({ name, version }: Projection): Promise<string> {
  const [row] = await database.query<{ schema: string }>(
    `select schema_name as schema from lintel.projection where name = $1 and version = $2 and phase = 'live'`,
    [name, version],
  );
  return row?.schema ?? '';
}
