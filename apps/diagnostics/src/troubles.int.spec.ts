import { mkdtemp, rm } from 'node:fs/promises';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { EventRegistry } from '#libs/contracts';
import type { Broker, StoredCommit } from '#libs/event-log';
import { memoryBroker } from '#libs/event-log';
import { natsBroker } from '#libs/event-log-nats';
import { systemEnvironment } from '#libs/kernel';
import { createLogger } from '#libs/observability';
import { openDatabase } from '#libs/projections-postgres';
import type { LaunchedNats, LaunchedPostgres } from '#libs/testkit';
import { eventually, headAfter, launchNats, launchPostgres, sampleLog } from '#libs/testkit';
import { adminKey, Api } from './api.fixture.ts';
import { startDeciders } from './gateway.fixture.ts';
import type { RunningDiagnostics } from './options.ts';
import { FrameWriter, realPick, recordOf } from './records.fixture.ts';
import { startDiagnostics } from './start.ts';

const registry = new EventRegistry();
const logger = createLogger({ name: 'test', level: 'silent' });
const undo: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const step of undo.splice(0).toReversed()) await step();
});

async function start(
  broker: Broker,
  databaseUrl?: string,
  home?: string,
): Promise<Api & { running: RunningDiagnostics }> {
  const own = home ?? (await mkdtemp(join(tmpdir(), 'lintel-diagnostics-')));
  if (home === undefined) undo.push(() => rm(own, { recursive: true, force: true }));
  const notary = { ageMsMax: 50, pollMs: 20 };
  const options = {
    host: '127.0.0.1',
    port: 0,
    instance: 'test',
    home: own,
    broker,
    databaseUrl,
    adminKey,
    logger,
    notary,
  };
  const running = await startDiagnostics(options);
  undo.push(() => running.stop());
  return new Api(running) as Api & { running: RunningDiagnostics };
}

/** Writes commits as they are given, whether they are true or not: what somebody with the operator's password can do. */
async function write(broker: Broker, commits: readonly StoredCommit[]): Promise<void> {
  const last = new Map<string, number>();
  for (const commit of commits) {
    const expected = { ...headAfter(commit, last.get(commit.subject) ?? 0) };
    const { seq } = await broker.log.append(commit, expected);
    last.set(commit.subject, seq);
  }
}

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));

describe('a history that somebody changed', () => {
  let nats: LaunchedNats;
  beforeAll(async () => void (nats = await launchNats()));
  afterAll(() => nats.stop());

  const commits = sampleLog(20);
  const changedAt = (seq: number): StoredCommit[] =>
    commits.map((commit) =>
      commit.seq === seq
        ? { ...commit, payload: bytes(Buffer.from(commit.payload).toString().replace('"test"', '"tset"')) }
        : commit,
    );

  test('L10 a commit changed in a copy of the stream is named by its sequence, and the notary does not seal over it', async () => {
    const operator = await natsBroker({ url: nats.urlOf('operator'), name: 'operator', registry });
    undo.push(() => operator.close());
    await write(operator, changedAt(7));
    const api = await start(operator);
    const answer = await api.post('/api/v1/verify', {});
    expect(answer).toMatchObject({ ok: false, lastSeq: 20, firstBad: { seq: 7, rule: 'hash' }, problemsTotal: 1 });
    await eventually(async () => {
      const notary = await api.get('/api/v1/notary');
      expect(notary).toMatchObject({ halted: true, sealedSeq: 0, anchors: 0 });
      expect(notary.haltedReason).toContain('sequence 7 (hash)');
    });
    const { body } = await api.call('GET', '/ready');
    expect(body).toMatchObject({ ready: true, state: 'degraded', dependencies: { notary: { state: 'down' } } });
  });

  test('L10 rewritten from a place on, hashes and all, it no longer fits its seals', async () => {
    const home = await mkdtemp(join(tmpdir(), 'lintel-diagnostics-'));
    undo.push(() => rm(home, { recursive: true, force: true }));
    const first = memoryBroker(systemEnvironment, registry);
    await write(first, commits);
    const sealing = await start(first, undefined, home);
    await eventually(async () => expect((await sealing.get('/api/v1/notary')).sealedSeq).toBe(20));
    const anchors = await first.anchors.readAll();

    const second = memoryBroker(systemEnvironment, registry);
    await write(second, sampleLog(20, 4));
    for (const [index, { json }] of anchors.entries()) await second.anchors.append(json, index);
    const forged = await start(second, undefined, home);
    expect((await forged.post('/api/v1/verify', {})).firstBad).toMatchObject({ rule: 'anchor-root', seq: 1 });
    await eventually(async () => expect((await forged.get('/api/v1/notary')).halted).toBe(true));

    const shorter = memoryBroker(systemEnvironment, registry);
    await write(shorter, commits.slice(0, 15));
    for (const [index, { json }] of anchors.entries()) await shorter.anchors.append(json, index);
    const cut = await start(shorter, undefined, home);
    expect((await cut.post('/api/v1/verify', {})).firstBad).toMatchObject({ rule: 'anchor-beyond-log', seq: 16 });

    const stranger = await start(first);
    expect((await stranger.post('/api/v1/verify', {})).firstBad).toMatchObject({ rule: 'anchor-key', seq: 1 });
  });
});

test('without broker and database everything is answered from memory, and said to be', async () => {
  const broker = memoryBroker(systemEnvironment, registry);
  const deciders = await startDeciders(broker);
  undo.push(() => deciders.close());
  const api = await start(broker);
  const seq = (await api.post('/api/v1/apply', 'replicas:\n  - { id: a, url: "http://127.0.0.1:1" }\n')).changes[0].seq;
  await new FrameWriter(broker).write(recordOf('req-1', Date.now(), [realPick('random', 1)]));
  expect(await api.get(`/api/v1/replicas?minSeq=${seq}`)).toMatchObject({
    durability: 'memory',
    note: 'there is no database: told from the log in memory',
    items: [{ replicaId: 'a', source: 'apply', live: { healthy: true } }],
  });
  expect(await api.get('/api/v1/requests?model=tiny-model')).toMatchObject({
    durability: 'memory',
    items: [{ requestId: 'req-1', strategy: 'random', outcome: 'completed', tpotMs: 5 }],
  });
  expect((await api.get('/api/v1/requests?outcome=client_gone')).items).toEqual([]);
  expect(await api.get('/api/v1/why/req-1')).toMatchObject({
    durability: 'memory',
    source: 'frames',
    note: /no database/,
  });
  const lines = await api.post('/api/v1/replay', {});
  expect(lines.at(-1)).toMatchObject({ durability: 'memory', source: 'frames', ok: true, equal: 1 });
  const verdict = await api.post('/api/v1/verify', { projections: true });
  expect(verdict).toMatchObject({ durability: 'memory', ok: true, projections: [] });
  expect(verdict.notes).toContain('there is no database: no projection was compared');
  expect(await api.get('/api/v1/projections')).toMatchObject({ items: [], note: 'there is no database' });
  expect((await api.call('POST', '/api/v1/projections/requests/rebuild')).body.code).toBe('DB_UNAVAILABLE');
  expect((await api.call('GET', '/ready')).status).toBe(200);
});

test('a command that nobody answers says so, and how much of an application was done', async () => {
  const api = await start(memoryBroker(systemEnvironment, registry));
  const drained = await api.call('POST', '/api/v1/replicas/a/drain', {});
  expect([drained.status, drained.body.code]).toEqual([503, 'BUS_NO_RESPONDER']);
  const applied = await api.call('POST', '/api/v1/apply', 'replicas:\n  - { id: a, url: "http://127.0.0.1:1" }\n');
  expect(applied.body).toMatchObject({ status: 503, detail: expect.stringContaining('(0 of 1 changes were applied)') });
});

/** Stands before a server, so that a test can take it away and bring it back. */
class Door {
  readonly #sockets = new Set<Socket>();
  #open = true;
  readonly #server = createServer((client) => {
    if (!this.#open) return void client.destroy();
    const server = connect(this.target, '127.0.0.1');
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.on('close', () => (client.destroy(), server.destroy(), this.#sockets.delete(socket)));
    }
    client.pipe(server);
    server.pipe(client);
  });

  constructor(private readonly target: number) {}

  async listen(): Promise<number> {
    await new Promise<void>((done) => this.#server.listen(0, '127.0.0.1', done));
    return (this.#server.address() as AddressInfo).port;
  }

  shut(): void {
    this.#open = false;
    for (const socket of this.#sockets) socket.destroy();
  }

  reopen(): void {
    this.#open = true;
  }

  async close(): Promise<void> {
    this.shut();
    await new Promise((done) => this.#server.close(done));
  }
}

describe('the database', () => {
  let postgres: LaunchedPostgres;
  let door: Door;
  let url: string;
  beforeAll(async () => {
    postgres = await launchPostgres({ own: true });
    door = new Door(Number(new URL(postgres.url).port));
    const through = new URL(postgres.url);
    through.port = String(await door.listen());
    url = through.toString();
  });
  afterAll(async () => {
    await door.close();
    await postgres.stop();
  });

  test('L4 killed and gone: the API answers without it; back: the rows follow, and are the fold', async () => {
    const broker = memoryBroker(systemEnvironment, registry);
    const deciders = await startDeciders(broker);
    undo.push(() => deciders.close());
    const api = await start(broker, url);
    const frames = new FrameWriter(broker);
    const apply = (id: string): Promise<any> =>
      api.post('/api/v1/apply', `replicas:\n  - { id: ${id}, url: "http://127.0.0.1:1" }\n`);
    await eventually(async () => expect((await api.call('GET', '/ready')).body.state).toBe('up'));
    await apply('a');
    await frames.write(recordOf('before', Date.now(), [realPick('random', 1)]));
    await eventually(async () => expect((await api.get('/api/v1/why/before')).source).toBe('postgres'));

    door.shut();
    postgres.kill();
    await frames.write(recordOf('during', Date.now(), [realPick('random', 2)]));
    const { changes } = await apply('b');
    expect(await api.get('/api/v1/why/during')).toMatchObject({
      source: 'frames',
      note: expect.stringContaining('Postgres could not answer'),
    });
    const listed = await api.get(`/api/v1/replicas?minSeq=${changes[0].seq}`);
    expect(listed.items.map(({ replicaId }: any) => replicaId)).toEqual(['a', 'b']);
    expect(listed.note).toMatch(/Postgres could not answer.*told from the log in memory/);
    const replayed = (await api.post('/api/v1/replay', {})).at(-1);
    expect(replayed).toMatchObject({ source: 'frames', ok: true, records: 2 });
    await eventually(async () => {
      const { status, body } = await api.call('GET', '/ready');
      expect(status).toBe(200);
      expect(body).toMatchObject({ state: 'degraded', dependencies: { database: { state: 'down' } } });
    });

    door.reopen();
    await eventually(async () => expect((await api.get('/api/v1/why/during')).source).toBe('postgres'), 20_000);
    await eventually(async () => expect((await api.call('GET', '/ready')).body.state).toBe('up'), 20_000);
    const verdict = await api.post('/api/v1/verify', { projections: true });
    expect(verdict.projections.filter(({ equal }: any) => !equal)).toEqual([]);
    expect(verdict.ok).toBe(true);
  });

  test('L4 a row that somebody changed is named', async () => {
    const broker = memoryBroker(systemEnvironment, registry);
    await write(broker, sampleLog(9));
    const api = await start(broker, postgres.url);
    await eventually(async () => {
      const { items } = await api.get('/api/v1/projections');
      expect(items.filter(({ phase, seq }: any) => phase === 'live' && seq === 9)).toHaveLength(3);
    });
    const database = openDatabase({ url: postgres.url });
    undo.push(() => database.close());
    const [{ schema_name: schema }] = (await database.query<{ schema_name: string }>(
      `select schema_name from lintel.projection where name = 'commits' and phase = 'live'`,
    )) as [{ schema_name: string }];
    await database.query(`update ${schema}.commit set actor = 'somebody else' where seq = 4`);
    const answer = await api.post('/api/v1/verify', { projections: true });
    expect(answer).toMatchObject({ ok: false, problemsTotal: 0 });
    const commits = answer.projections.find(({ projection }: any) => projection === 'commits@2');
    expect(commits).toMatchObject({ equal: false, text: expect.stringContaining('table commit: the row {"seq":4}') });
    await database.query(`update ${schema}.commit set actor = 'test:contract' where seq = 4`);
    expect((await api.post('/api/v1/verify', { projections: true })).ok).toBe(true);
  });

  test('the broker killed: what Postgres holds is answered; back: everything goes on where it stood', async () => {
    const nats = await launchNats();
    undo.push(() => nats.stop());
    const names = ['gateway', 'diagnostics'] as const;
    const [gateway, broker] = (await Promise.all(
      names.map((name) => natsBroker({ url: nats.urlOf(name), name, registry })),
    )) as [Broker, Broker];
    undo.push(
      () => gateway.close(),
      () => broker.close(),
    );
    const own = await launchPostgres();
    undo.push(() => own.stop());
    const deciders = await startDeciders(gateway);
    undo.push(() => deciders.close());
    const api = await start(broker, own.url);
    const policy = (strategy: string): Promise<any> =>
      api.post(
        '/api/v1/apply',
        `policies: [{ id: p, models: ["*"], profiles: { default: { strategy: ${strategy} } } }]\n`,
      );
    await policy('random');
    const place = { policyId: 'p', policyVersion: 1, policySeq: 1 };
    await new FrameWriter(gateway).write(recordOf('req-1', Date.now(), [realPick('random', 1, place)]));
    await eventually(async () => expect((await api.get('/api/v1/why/req-1')).source).toBe('postgres'));
    await eventually(async () => expect((await api.get('/api/v1/notary')).sealedSeq).toBe(2));
    await eventually(async () => {
      const { items } = await api.get('/api/v1/projections');
      expect(items.find(({ id }: any) => id === 'commits@2')).toMatchObject({ seq: 2 });
    });

    nats.kill();
    await eventually(async () => expect((await api.call('GET', '/ready')).status).toBe(503));
    expect(await api.get('/api/v1/why/req-1')).toMatchObject({
      source: 'postgres',
      commits: [{ seq: 1, events: [{ type: 'PolicyAdopted' }] }],
    });
    expect((await api.get('/api/v1/policies')).items).toMatchObject([{ policyId: 'p', version: 1 }]);
    const refused = await api.call('POST', '/api/v1/verify', {});
    expect([refused.status, refused.body.code]).toEqual([503, 'ANCHORS_UNAVAILABLE']);
    expect((await api.call('POST', '/api/v1/replicas/a/drain', {})).body.code).toBe('BUS_UNAVAILABLE');

    await nats.restart();
    await eventually(async () => expect((await api.call('GET', '/ready')).body.state).toBe('up'), 20_000);
    // Who answers commands comes back by a connection of its own; until then nothing of a document is applied.
    let applied: any;
    await eventually(async () => {
      applied = await policy('least-request');
    }, 20_000);
    const { seq } = applied.changes[0];
    const listed = await api.get(`/api/v1/policies?minSeq=${seq}`);
    expect(listed.items).toMatchObject([{ version: 2, profiles: [{ strategy: 'least-request' }] }]);
    await eventually(async () => expect((await api.get('/api/v1/notary')).sealedSeq).toBe(seq + 1), 20_000);
    expect((await api.post('/api/v1/verify', { projections: true })).ok).toBe(true);
  });

  test('away at the start is not waited for; it is used when it comes', async () => {
    door.shut();
    const broker = memoryBroker(systemEnvironment, registry);
    await write(broker, sampleLog(3));
    const api = await start(broker, url);
    expect((await api.call('GET', '/ready')).status).toBe(200);
    expect((await api.get('/api/v1/projections')).note).toContain('the database is not ready');
    door.reopen();
    await eventually(async () => expect((await api.get('/api/v1/projections')).items).toHaveLength(5), 20_000);
  });
});
