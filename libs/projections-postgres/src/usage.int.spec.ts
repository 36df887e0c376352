import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { create, toBinary } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import { MemoryFrameStream } from '#libs/event-log';
import { errorCode, SeededRng, systemEnvironment } from '#libs/kernel';
import { ProjectionHost, usage } from '#libs/projections';
import type { Database, UsageDimension, UsageRow } from '#libs/projections-postgres';
import {
  CheckpointsReader,
  migrate,
  openDatabase,
  PostgresProjectionStore,
  projectionEqualsFold,
  rebuild,
  UsageReader,
} from '#libs/projections-postgres';
import type { LaunchedPostgres } from '#libs/testkit';
import { eventually, launchPostgres } from '#libs/testkit';

const environment = systemEnvironment;
const beganMs = Date.UTC(2026, 10, 23, 20);
const models = ['a', 'b', 'unpriced'] as const;
/** Beyond 2⁵³ in few rows. */
const largestNano = 8_600_000_000_000_001;

let postgres: LaunchedPostgres;
let database: Database;
let clockMs = beganMs;
const frames = new MemoryFrameStream({ clock: { nowMs: () => clockMs, monotonicMs: () => clockMs } });
const rng = new SeededRng(3);
let host: ProjectionHost;

interface Truth {
  requests: bigint;
  unpriced: bigint;
  cost: bigint;
}
const truth = new Map<string, Truth>();

/** Frames of one gateway, some of which come twice; the clock goes on by minutes. */
async function write(count: number): Promise<void> {
  for (let n = 0; n < count; n++) {
    clockMs += rng.below(20 * 60_000);
    const frameSeq = (await frames.lastSeq()) + 1;
    const records = Array.from({ length: 5 }, () => {
      const model = models[rng.below(models.length)]!;
      const known = model !== 'unpriced';
      const costNano = known ? (rng.chance(0.05) ? largestNano : rng.below(4_000_000)) : 0;
      const sum = truth.get(model) ?? { requests: 0n, unpriced: 0n, cost: 0n };
      truth.set(model, sum);
      sum.requests += 1n;
      sum.unpriced += known ? 0n : 1n;
      sum.cost += BigInt(costNano);
      return {
        receivedAtMs: clockMs - rng.below(3 * 3_600_000),
        tenantId: 'acme',
        keyId: 'k',
        model,
        usage: { promptTokens: 10, completionTokens: 5, fromEngine: true },
        ...(known ? { costNano, priceSeq: 9, currency: 'USD' } : {}),
      };
    });
    const frame = { gatewayId: 'g', bootId: 'b', frameSeq, closedAtMs: clockMs, records };
    const bytes = toBinary(route.RecordFrameSchema, create(route.RecordFrameSchema, frame as never));
    await frames.publish('lintel.rq.g', `f${frameSeq}`, bytes);
    if (rng.chance(0.2)) await frames.publish('lintel.rq.g', `again-${frameSeq}`, bytes);
  }
}

const reader = (): UsageReader => new UsageReader(database);
const report = async (...by: UsageDimension[]): Promise<UsageRow[]> =>
  await reader().report({ by, sinceMs: 0, untilMs: clockMs + 86_400_000, only: { tenant: 'acme' } });

function sums(rows: readonly UsageRow[]): Record<string, Truth> {
  return Object.fromEntries(
    rows.map(({ group, requests, unpriced, costs }) => [
      group[0]!,
      { requests, unpriced, cost: costs.get('USD') ?? 0n },
    ]),
  );
}

async function caughtUp(): Promise<void> {
  await eventually(async () => {
    const live = await new CheckpointsReader(database).live('usage').catch((thrown: unknown) => {
      if (errorCode(thrown) !== 'DB_UNAVAILABLE') throw thrown;
      return undefined;
    });
    expect(live?.seq).toBe(await frames.lastSeq());
  }, 40_000);
}

beforeAll(async () => {
  postgres = await launchPostgres({ own: true });
  database = openDatabase({ url: postgres.url });
  await migrate(database);
  const limits = { batchItemsMax: 5, bufferItemsMax: 10, retryMsMax: 200 };
  host = new ProjectionHost({ store: new PostgresProjectionStore(database), environment, limits });
  host.start({ projection: usage, source: frames });
});
afterAll(async () => {
  await host.stop();
  await database.close();
  await postgres.stop();
});

test('L55 the server killed under the projector, frames twice: the ledger is the sum of the records', async () => {
  await write(60);
  // What a server without a flush may lose at a kill is not the matter here.
  await caughtUp();
  await database.query('checkpoint');
  await write(30);
  postgres.kill();
  await write(60);
  await caughtUp();
  expect(sums(await report('model'))).toEqual(Object.fromEntries(truth));
  expect(truth.get('a')!.cost > BigInt(Number.MAX_SAFE_INTEGER)).toBe(true);
  expect((await projectionEqualsFold({ database, projection: usage, source: frames })).equal).toBe(true);
  const days = await report('day');
  expect(days.length).toBeGreaterThan(1);
  expect(days[0]!.group[0]).toBe('2026-11-23');
  expect(days.reduce((sum, { requests }) => sum + requests, 0n)).toBe(
    [...truth.values()].reduce((sum, { requests }) => sum + requests, 0n),
  );
});

test('L55 built anew it is the same; where the stream no longer holds the first frames, nothing of them is lost', async () => {
  await rebuild({ database, projection: usage, source: frames });
  expect(sums(await report('model'))).toEqual(Object.fromEntries(truth));
  const cut = {
    follow: frames.follow.bind(frames),
    lastSeq: frames.lastSeq.bind(frames),
    firstSeq: async () => 40,
  };
  await rebuild({ database, projection: usage, source: cut });
  expect(sums(await report('model'))).toEqual(Object.fromEntries(truth));
  await write(5);
  await caughtUp();
  expect(sums(await report('model'))).toEqual(Object.fromEntries(truth));
});
