import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { EventRegistry, route, subjects } from '#libs/contracts';
import type { StoredCommit } from '#libs/event-log';
import { decodePayload, emptyHead, MemoryEventLog, MemoryFrameStream, prepareCommit } from '#libs/event-log';
import { systemEnvironment } from '#libs/kernel';
import type { Projection } from '#libs/projections';
import { commits, configuration, ProjectionRunner, replicas, requests } from '#libs/projections';
import type { Database } from '#libs/projections-postgres';
import {
  CheckpointsReader,
  CommitsReader,
  migrate,
  openDatabase,
  PoliciesReader,
  PostgresProjectionStore,
  ReplicasReader,
  RequestsReader,
  TenantsReader,
} from '#libs/projections-postgres';
import type { LaunchedPostgres } from '#libs/testkit';
import { eventually, launchPostgres } from '#libs/testkit';

const registry = new EventRegistry();
let postgres: LaunchedPostgres;
let database: Database;

beforeAll(async () => {
  postgres = await launchPostgres();
  database = openDatabase({ url: postgres.url });
});
afterAll(async () => {
  await database.close();
  await postgres.stop();
});

test('migrations run once, however many processes start together', async () => {
  const second = openDatabase({ url: postgres.url });
  const ran = await Promise.all([migrate(database), migrate(second), migrate(database)]);
  expect(ran.flat()).toEqual(['Catalog1764000000000', 'Anchors1764100000000', 'IndexedLater1764200000000']);
  expect(await migrate(second)).toEqual([]);
  await second.close();
});

test('a start after the first finds them done', async () => {
  await migrate(database);
  const later = openDatabase({ url: postgres.url });
  expect(await migrate(later)).toEqual([]);
  await later.close();
});

class Writer {
  readonly log = new MemoryEventLog({ clock: systemEnvironment.clock });
  readonly #heads = new Map<string, StoredCommit>();

  async write(
    context: string,
    aggregate: string,
    id: string,
    ...events: { type: string; data: object }[]
  ): Promise<number> {
    const subject = subjects.event(context, aggregate, id);
    const last = this.#heads.get(subject);
    const head = last === undefined ? emptyHead : { seq: last.seq, version: last.version, hash: last.hash };
    const commit = prepareCommit({
      registry,
      subject: { context, aggregate, id },
      commitId: `c-${id}-${head.version + 1}`,
      head,
      events,
      context: { atMs: 1_700_000_000_000, actor: 'test:1', correlationId: 'flow-1' },
    });
    const { seq } = await this.log.append(commit, head);
    this.#heads.set(subject, { ...commit, seq, storedAtMs: 0 });
    return seq;
  }
}

describe('decisions', () => {
  const writer = new Writer();

  test('become rows that the readers find', async () => {
    await writer.write('route', 'replica', 'r1', {
      type: 'ReplicaRegistered',
      data: {
        replicaId: 'r1',
        url: 'http://127.0.0.1:8000',
        engine: route.EngineKind.VLLM,
        models: ['m\u0000x'],
        labels: { zone: 'a' },
        source: 'flag',
      },
    });
    await writer.write('route', 'replica', 'r1', {
      type: 'ReplicaDrained',
      data: { replicaId: 'r1', reason: 'upgrade' },
    });
    await writer.write('route', 'policy', 'default', {
      type: 'PolicyAdopted',
      data: {
        policy: {
          policyId: 'default',
          models: ['*'],
          defaultProfile: 'p',
          profiles: [{ name: 'p', strategy: 'random' }],
        },
        source: 'default',
      },
    });
    await writer.write('route', 'policy', 'default', {
      type: 'PolicyRetired',
      data: { policyId: 'default', reason: 'replaced' },
    });
    await writer.write('tenancy', 'tenant', 't1', {
      type: 'TenantRegistered',
      data: { tenantId: 't1', displayName: 'Tee' },
    });
    await writer.write('tenancy', 'tenant', 't1', {
      type: 'KeyIssued',
      data: { tenantId: 't1', keyId: 'k1', keyHash: 'ab', models: [] },
    });
    const seq = await writer.write('route', 'configuration', 'main', {
      type: 'ConfigurationApplied',
      data: { contentHash: 'cafe', changes: ['replica r1'] },
    });

    const store = new PostgresProjectionStore(database);
    const runners = [commits, replicas, configuration].map(
      (projection) => new ProjectionRunner({ projection, source: writer.log, store, environment: systemEnvironment }),
    );
    for (const runner of runners) void runner.start();
    const checkpoints = new CheckpointsReader(database);
    for (const name of ['commits', 'replicas', 'configuration'])
      expect(await checkpoints.waitFor(name, seq, 5_000)).toBe(true);

    // All have caught up: each build has its indexes, hash ones too.
    await eventually(async () => {
      const indexes = await database.query<{ indexdef: string }>(
        `select indexdef from pg_indexes where schemaname like 'proj_commits%' and tablename = 'commit' order by indexname`,
      );
      expect(indexes.map(({ indexdef }) => / using (.*)$/i.exec(indexdef)?.[1])).toEqual([
        'hash (commit_id)',
        'btree (subject, seq)',
        'btree (correlation_id)',
        'btree (stored_at)',
        'btree (seq)',
      ]);
    });
    for (const { status } of runners) expect(status.indexed).toBe(true);

    const reader = new CommitsReader(database);
    expect(await reader.find('c-r1-2')).toMatchObject({
      seq: 2,
      types: ['ReplicaDrained'],
      actor: 'test:1',
      accepted: true,
      atMs: 1_700_000_000_000,
    });
    expect((await reader.list({ type: 'ReplicaRegistered' })).map((row) => row.seq)).toEqual([1]);
    expect((await reader.list({ context: 'tenancy', oldestFirst: true })).map((row) => row.seq)).toEqual([5, 6]);
    expect((await reader.list({ text: 'upgrade' })).map((row) => row.seq)).toEqual([2]);
    expect((await reader.bySubject('lintel.ev.route.replica.r1')).map((row) => row.version)).toEqual([2, 1]);
    expect(decodePayload((await reader.bySeq(7))?.payload ?? new Uint8Array()).events).toMatchObject([
      { type: 'ConfigurationApplied' },
    ]);

    expect(await new ReplicasReader(database).list()).toMatchObject([
      {
        replicaId: 'r1',
        engine: 'vllm',
        models: ['m\uFFFDx'],
        labels: { zone: 'a' },
        draining: true,
        drainReason: 'upgrade',
        version: 2,
        removed: false,
      },
    ]);
    const policies = new PoliciesReader(database);
    expect(await policies.list()).toEqual([]);
    expect(await policies.find('default')).toMatchObject({
      version: 2,
      retired: true,
      models: ['*'],
      commitId: 'c-default-2',
    });
    expect(await policies.version('default', 1)).toMatchObject({
      retired: false,
      seq: 3,
      policy: { policyId: 'default' },
    });
    expect((await policies.versions('default')).length).toBe(2);
    expect(await policies.configurations()).toMatchObject([{ contentHash: 'cafe', changes: ['replica r1'] }]);
    expect(await new TenantsReader(database).list()).toMatchObject([{ tenantId: 't1', displayName: 'Tee' }]);
    expect(await new TenantsReader(database).keys('t1')).toMatchObject([
      { keyId: 'k1', keyHash: 'ab', revoked: false, expiresAtMs: null },
    ]);
    await Promise.all(runners.map(async (runner) => await runner.stop()));
    expect(await checkpoints.live('commits')).toMatchObject({
      id: 'commits@2',
      seq,
      lag: 0,
      state: 'following',
      stale: false,
    });
  });
});

test('frames become request rows, each with its own record', async () => {
  const frames = new MemoryFrameStream({ clock: systemEnvironment.clock });
  const nowMs = Date.now();
  const record = (index: number, replica: number): object => ({
    requestId: `req-${index}`,
    receivedAtMs: nowMs + index,
    tenantId: 't1',
    endpoint: '/v1/chat/completions',
    model: index % 2 === 0 ? 'even' : 'odd',
    stream: true,
    picks: [{ pipeline: 1, candidates: [replica, 0], chosen: 1, columns: ['waiting'], values: [1, NaN] }],
    attempts: [{ replica, pick: 0, firstByteMs: 12.5, end: route.AttemptEnd.ANSWERED, httpStatus: 200 }],
    outcome: route.Outcome.COMPLETED,
    httpStatus: 200,
    timings: { firstByteMs: 12.5, totalMs: 40, tokenSpanMs: 20, tokenGaps: 4 },
    usage: { promptTokens: 7, completionTokens: 5 },
  });
  const frame = (frameSeq: number, ...records: object[]): Uint8Array =>
    toBinary(
      route.RecordFrameSchema,
      create(route.RecordFrameSchema, {
        gatewayId: 'gw',
        bootId: 'b1',
        frameSeq,
        closedAtMs: nowMs,
        records: records as never,
        replicaIds: ['r0', 'r1', 'r2'],
        pipelines: [{ strategy: 'unused' }, { strategy: 'least-request', policyId: 'default', policyVersion: 3 }],
      }),
    );
  await frames.publish('lintel.rq.gw', 'gw-b1-1', frame(1, record(0, 2), record(1, 1)));
  await frames.publish('lintel.rq.gw', 'gw-b1-3', frame(3, record(2, 2)));
  await frames.publish('lintel.rq.gw', 'broken', new Uint8Array([255, 255]));
  await frames.publish('lintel.rq.gw', 'again', frame(1, record(0, 2), record(1, 1)));

  const store = new PostgresProjectionStore(database);
  const runner = new ProjectionRunner({ projection: requests, source: frames, store, environment: systemEnvironment });
  void runner.start();
  expect(await new CheckpointsReader(database).waitFor('requests', 4, 5_000)).toBe(true);
  const reader = new RequestsReader(database);
  const found = await reader.find('req-0');
  expect(found).toMatchObject({
    model: 'even',
    replicaId: 'r2',
    strategy: 'least-request',
    policyVersion: 3,
    outcome: 'completed',
    ttftMs: 12.5,
    tpotMs: 5,
    promptTokens: 7,
    receivedAtMs: nowMs,
    attempts: 1,
  });
  const own = fromBinary(route.RecordFrameSchema, found?.record as Uint8Array);
  expect(own).toMatchObject({
    gatewayId: 'gw',
    frameSeq: 1,
    replicaIds: ['r2', 'r0'],
    pipelines: [{ policyVersion: 3 }],
  });
  expect(own.records[0]?.picks[0]).toMatchObject({ pipeline: 0, candidates: [0, 1] });
  expect(own.records[0]?.attempts[0]?.replica).toBe(0);

  expect((await reader.list({ limit: 2 })).map((row) => row.requestId)).toEqual(['req-2', 'req-1']);
  expect((await reader.list({ afterId: 'req-1' })).map((row) => row.requestId)).toEqual(['req-0']);
  expect(
    (await reader.list({ model: 'odd', sinceMs: nowMs - 5, untilMs: nowMs + 60_000 })).map((row) => row.requestId),
  ).toEqual(['req-1']);
  expect(
    (await reader.gaps()).map(({ kind, firstFrameSeq, lastFrameSeq }) => [kind, firstFrameSeq, lastFrameSeq]),
  ).toEqual([
    ['undecodable', 3, 3],
    ['missing', 2, 2],
  ]);

  await frames.publish('lintel.rq.gw', 'gw-b1-2', frame(2, record(9, 0)));
  expect(await new CheckpointsReader(database).waitFor('requests', 5, 5_000)).toBe(true);
  expect((await reader.gaps()).map(({ kind }) => kind)).toEqual(['undecodable']);
  await runner.stop();
  const row = await new CheckpointsReader(database).live('requests');
  expect(row?.counts).toEqual({ duplicates: 1, undecodable: 1 });
  expect(runner.status.state).toBe('stopped');
  void (requests satisfies Projection<never>);
});
