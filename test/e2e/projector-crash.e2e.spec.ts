import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { create, toBinary } from '@bufbuild/protobuf';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { EventRegistry, route } from '#libs/contracts';
import { headAfter, eventually, launchNats, launchPostgres, sampleLog } from '#libs/testkit';
import type { LaunchedNats, LaunchedPostgres } from '#libs/testkit';
import { natsBroker } from '#libs/event-log-nats';
import type { Broker } from '#libs/event-log';
import type { Projection } from '#libs/projections';
import type { Database } from '#libs/projections-postgres';
import {
  CheckpointsReader,
  migrate,
  openDatabase,
  projectionEqualsFold,
  projections,
} from '#libs/projections-postgres';

const root = join(import.meta.dirname, '../..');
const commitsWritten = 600;
const framesWritten = 300;
const kills = 3;

let nats: LaunchedNats;
let postgres: LaunchedPostgres;
let broker: Broker;
let database: Database;
let child: ChildProcess | undefined;

beforeAll(async () => {
  [nats, postgres] = await Promise.all([launchNats(), launchPostgres()]);
  broker = await natsBroker({ url: nats.urlOf('gateway'), name: 'test', registry: new EventRegistry() });
  database = openDatabase({ url: postgres.url });
  await migrate(database);
});

afterAll(async () => {
  child?.kill('SIGKILL');
  await database.close();
  await broker.close();
  await postgres.stop();
  await nats.stop();
});

async function write(): Promise<void> {
  const last = new Map<string, number>();
  for (const commit of sampleLog(commitsWritten, 7)) {
    const { seq } = await broker.log.append(commit, headAfter(commit, last.get(commit.subject) ?? 0));
    last.set(commit.subject, seq);
  }
  const nowMs = Date.now();
  const frames = Array.from({ length: framesWritten }, (_, index) => {
    const records = Array.from({ length: 5 }, (_, n) => ({
      requestId: `q-${index}-${n}`,
      receivedAtMs: nowMs + index,
    }));
    const frame = { gatewayId: 'gw', bootId: 'boot', frameSeq: index + 1, closedAtMs: nowMs, records };
    return toBinary(route.RecordFrameSchema, create(route.RecordFrameSchema, frame));
  });
  await Promise.all(frames.map((bytes, index) => broker.frames.publish('lintel.rq.gw', `gw-${index}`, bytes)));
}

function project(): ChildProcess {
  const script = join(import.meta.dirname, 'projecting.ts');
  const flags = [
    '--disable-warning=ExperimentalWarning',
    '--experimental-transform-types',
    '--conditions=lintel-source',
  ];
  return spawn(process.execPath, [...flags, script, nats.urlOf('diagnostics'), postgres.url], {
    cwd: root,
    stdio: 'ignore',
  });
}

test('L4 L55 a projecting process killed in the middle of its batches, again and again, leaves rows that are the fold of the log', async () => {
  await write();
  const checkpoints = new CheckpointsReader(database);
  const seqs = async (): Promise<number[]> => (await checkpoints.list()).map(({ seq }) => seq);
  for (let kill = 1; kill <= kills; kill++) {
    child = project();
    const ended = new Promise((done) => child?.once('exit', done));
    // Somewhere on the way: the frames are a known share through.
    const enough = (framesWritten * kill) / (kills + 1);
    await eventually(async () => expect((await checkpoints.live('requests'))?.seq).toBeGreaterThan(enough), 30_000);
    child.kill('SIGKILL');
    await ended;
    expect(Math.min(...(await seqs()))).toBeLessThan(commitsWritten);
    await expectFold();
  }
  child = project();
  await eventually(
    async () =>
      expect((await seqs()).sort()).toEqual([
        framesWritten,
        framesWritten,
        commitsWritten,
        commitsWritten,
        commitsWritten,
      ]),
    30_000,
  );
  await expectFold();
});

async function expectFold(): Promise<void> {
  for (const projection of projections) {
    const source = projection.source === 'events' ? broker.log : broker.frames;
    const compared = await projectionEqualsFold({
      database,
      projection: projection as Projection<never>,
      source: source as never,
    });
    expect(compared).toMatchObject({ projection: compared.projection, equal: true });
  }
}
