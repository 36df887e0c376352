import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { INestMicroservice } from '@nestjs/common';
import { EventRegistry, route } from '#libs/contracts';
import { verifyArchive } from '#libs/domain/diag';
import { budget, hashApiKey, windowsMs, windowStart } from '#libs/domain/tenancy';
import type { Broker, StoredAnchor } from '#libs/event-log';
import { CommandHandler } from '#libs/event-log';
import { systemEnvironment } from '#libs/kernel';
import { natsBroker } from '#libs/event-log-nats';
import { TypedClient } from '#libs/nest-kit';
import { createLogger } from '#libs/observability';
import { AnchorCopies, openDatabase } from '#libs/projections-postgres';
import { FrameBuilder } from '#libs/recording';
import { canonicalJson, pipelineHash, resolveStrategy } from '#libs/scheduling';
import type { LaunchedNats, LaunchedPostgres } from '#libs/testkit';
import { eventually, launchNats, launchPostgres } from '#libs/testkit';
import { adminKey, Api } from './api.fixture.ts';
import { startDeciders } from './gateway.fixture.ts';
import type { RunningDiagnostics } from './options.ts';
import { FrameWriter, realPick, recordOf } from './records.fixture.ts';
import { startDiagnostics } from './start.ts';

const registry = new EventRegistry();
const logger = createLogger({ name: 'test', level: 'silent' });

const document = `
replicas:
  - { id: a, url: "http://127.0.0.1:8001", engine: vllm, models: [tiny-model] }
  - { id: b, url: "http://127.0.0.1:8002", engine: vllm, models: [tiny-model] }
policies:
  - id: default
    models: ["*"]
    profiles: { default: { strategy: prefix-cache } }
tenants:
  - id: local
    name: Local
    keys: [{ id: first, sha256: ${'ab'.repeat(32)} }]
`;

let nats: LaunchedNats;
let postgres: LaunchedPostgres;
let home: string;
let gatewayBroker: Broker;
let broker: Broker;
let gateway: INestMicroservice;
let running: RunningDiagnostics;
let api: Api;
let frames: FrameWriter;

beforeAll(async () => {
  [nats, postgres, home] = await Promise.all([
    launchNats(),
    launchPostgres(),
    mkdtemp(join(tmpdir(), 'lintel-diagnostics-')),
  ]);
  gatewayBroker = await natsBroker({ url: nats.urlOf('gateway'), name: 'gateway', registry });
  broker = await natsBroker({ url: nats.urlOf('diagnostics'), name: 'diagnostics', registry });
  gateway = await startDeciders(gatewayBroker);
  running = await startDiagnostics({
    host: '127.0.0.1',
    port: 0,
    instance: 'test',
    home,
    broker,
    databaseUrl: postgres.url,
    adminKey,
    logger,
    notary: { ageMsMax: 100, pollMs: 50 },
  });
  api = new Api(running);
  frames = new FrameWriter(gatewayBroker);
});

afterAll(async () => {
  await running?.stop();
  await gateway?.close();
  await broker?.close();
  await gatewayBroker?.close();
  await postgres?.stop();
  await nats?.stop();
  await rm(home, { recursive: true, force: true });
});

test('without the admin key nothing of the API is told; health, readiness and metrics are', async () => {
  for (const authorization of ['', 'Bearer wrong', `Basic ${adminKey}`]) {
    const { status, body } = await api.call('GET', '/api/v1/policies', undefined, { authorization });
    expect([status, body.code]).toEqual([401, 'ADMIN_KEY_UNAUTHORIZED']);
  }
  const none = { authorization: '' };
  await eventually(async () => expect((await api.call('GET', '/ready', undefined, none)).body.state).toBe('up'));
  expect((await api.call('GET', '/health', undefined, none)).body).toMatchObject({
    ready: true,
    durability: 'disk',
    dependencies: { broker: { state: 'up' }, database: { state: 'up' }, projections: { state: 'up' } },
  });
  const metrics = await api.call('GET', '/metrics', undefined, none);
  expect(metrics.body).toContain('lintel_projection_lag_items{projection="requests@3"');
});

describe('apply', () => {
  test('a mistake is told with its line, and nothing is applied', async () => {
    const { status, body } = await api.call(
      'POST',
      '/api/v1/apply?file=fleet.yaml',
      'replicas:\n  - { ulr: "http://a" }\n',
    );
    expect([status, body.code]).toEqual([400, 'CONFIG_INVALID']);
    expect(body.detail).toContain('fleet.yaml:2:');
    expect(body.detail).toContain('did you mean "url"?');
  });

  test('L22 a plan that a decider refuses changes nothing', async () => {
    const refused = document.replace('strategy: prefix-cache', 'strategy: prefix-cash');
    const before = (await api.get('/api/v1/log')).lastSeq;
    const { status, body } = await api.call('POST', '/api/v1/apply', refused);
    expect(status).toBe(400);
    expect(body.code).toMatch(/^SCHEDULING_/);
    expect((await api.get('/api/v1/log')).lastSeq).toBe(before);
  });

  test('a dry run tells what would change; applying does it; applying again changes nothing', async () => {
    const dry = await api.post('/api/v1/apply?dryRun=1', document);
    expect(dry).toMatchObject({ dryRun: true, unchanged: 0 });
    expect(dry.changes.map(({ what }: { what: string }) => what)).toEqual([
      '+ replica a http://127.0.0.1:8001',
      '+ replica b http://127.0.0.1:8002',
      '+ policy default for *',
      '+ tenant local',
      '+ key first of tenant local',
    ]);
    expect((await api.get('/api/v1/log')).lastSeq).toBe(0);

    // With a key of its own for the whole call, each step is still a command of its own.
    const once = { 'content-type': 'application/yaml', 'idempotency-key': 'whole' };
    const done = (await api.call('POST', '/api/v1/apply', document, once)).body;
    expect(done.changes.map(({ seq }: { seq: number }) => seq)).toEqual([1, 2, 3, 4, 5]);
    const page = await api.get('/api/v1/log?after=0');
    expect(page).toMatchObject({ lastSeq: 6, durability: 'disk' });
    expect(new Set(page.commits.map(({ correlationId }: any) => correlationId))).toEqual(new Set([done.correlationId]));
    expect(page.commits.slice(0, 5).every(({ commitId }: any) => /^apply-[0-9a-f]{32}:/.test(commitId))).toBe(true);
    expect(new Set(page.commits.map(({ commitId }: any) => commitId)).size).toBe(6);
    expect(page.commits[5].events[0]).toMatchObject({ type: 'ConfigurationApplied', data: { source: 'apply' } });

    const again = await api.post('/api/v1/apply', document);
    expect(again).toMatchObject({ unchanged: 5, changes: [], leftAlone: [] });
    const own = await api.post('/api/v1/apply', 'port: 8080\ncors: { origins: ["*"] }\n');
    expect(own).toMatchObject({ changes: [], leftAlone: ['port', 'cors'] });
    expect((await api.get('/api/v1/log')).lastSeq).toBe(6);
  });

  test("AIBrix's file is taken as it is; pruning takes away what only apply brought", async () => {
    const aibrix = 'models:\n  - { name: tiny-model, engine: vllm, endpoints: ["127.0.0.1:8009"] }\n';
    const { changes } = await api.post('/api/v1/apply?dryRun=1', aibrix);
    expect(changes.map(({ what }: any) => what)).toEqual(['+ replica tiny-model-127-0-0-1-8009 http://127.0.0.1:8009']);
    const pruned = await api.post('/api/v1/apply?dryRun=1&prune=1', aibrix);
    expect(pruned.changes.map(({ what }: any) => what)).toEqual(
      expect.arrayContaining(['- replica a http://127.0.0.1:8001', '- policy default', '- tenant local']),
    );
  });
});

describe('lists', () => {
  test('hold what was written, read as soon as it is asked for', async () => {
    const { seq } = await api.post('/api/v1/replicas/a/drain', { reason: 'upgrade' });
    const replicas = await api.get(`/api/v1/replicas?minSeq=${seq}`);
    expect(replicas.atSeq).toBeGreaterThanOrEqual(seq);
    expect(replicas.items).toMatchObject([
      {
        replicaId: 'a',
        engine: 'vllm',
        draining: true,
        drainReason: 'upgrade',
        live: { healthy: true, values: { waiting: 2 } },
      },
      { replicaId: 'b', draining: false, live: null },
    ]);
    expect((await api.get(`/api/v1/policies?minSeq=${seq}`)).items).toMatchObject([
      { policyId: 'default', version: 1, seq: 3, profiles: [{ name: 'default', strategy: 'prefix-cache' }] },
    ]);
    expect((await api.get(`/api/v1/tenants?minSeq=${seq}`)).items).toMatchObject([
      { tenantId: 'local', displayName: 'Local', keys: [{ keyId: 'first', revoked: false }] },
    ]);
    expect(await api.get('/api/v1/completion/replicas')).toEqual(['a', 'b']);
  });

  test('a sequence that never comes is said to be behind', async () => {
    const { status, body } = await api.call('GET', '/api/v1/policies?minSeq=99999&waitMs=200');
    expect([status, body.code]).toEqual([503, 'FOLD_BEHIND']);
  });
});

describe('commands', () => {
  test('resume and remove; a replica that is not there is refused by its decider', async () => {
    expect(await api.post('/api/v1/replicas/a/resume', {})).toMatchObject({ changed: true, version: 3 });
    const unknown = await api.call('POST', '/api/v1/replicas/nobody/drain', { reason: 'x' });
    expect([unknown.status, unknown.body.code]).toEqual([400, 'ROUTE_REPLICA_UNKNOWN']);
    expect((await api.call('DELETE', '/api/v1/replicas/b')).body).toMatchObject({ changed: true });
    expect((await api.call('POST', '/api/v1/replicas/a b/drain', {})).status).toBe(400);
  });

  test('L1 a call repeated with its idempotency key takes effect once', async () => {
    const drain = { 'idempotency-key': 'k-1', 'x-lintel-actor': 'cli:ann' };
    const first = await api.call('POST', '/api/v1/replicas/a/drain', { reason: 'once' }, drain);
    await api.post('/api/v1/replicas/a/resume', {});
    const again = await api.call('POST', '/api/v1/replicas/a/drain', { reason: 'once' }, drain);
    expect(again.body).toEqual(first.body);
    const { commits } = await api.get(`/api/v1/log?after=${first.body.seq - 1}&limit=1`);
    expect(commits[0].actor).toBe('cli:ann');
    const nobody = { 'x-lintel-actor': 'no name' };
    expect((await api.call('POST', '/api/v1/replicas/a/drain', {}, nobody)).body.code).toBe('BAD_REQUEST');
  });

  test('L23 a key is shown once, stored by its hash, and revoked', async () => {
    const issued = await api.post('/api/v1/tenants/local/keys', { keyId: 'ci', name: 'CI', expiresAt: '30d' });
    expect(issued).toMatchObject({ tenantId: 'local', keyId: 'ci', changed: true });
    const { commits } = await api.get(`/api/v1/log?after=${issued.seq - 1}&limit=1`);
    expect(commits[0].events[0].data.keyHash).toBe(hashApiKey(issued.key));
    expect(JSON.stringify(await api.get('/api/v1/log'))).not.toContain(issued.key);
    const taken = await api.call('POST', '/api/v1/tenants/local/keys', { keyId: 'ci' });
    expect([taken.status, taken.body.code]).toEqual([409, 'TENANCY_KEY_ID_TAKEN']);
    const { seq } = (await api.call('DELETE', '/api/v1/tenants/local/keys/ci')).body;
    const [{ keys }] = (await api.get(`/api/v1/tenants?minSeq=${seq}`)).items;
    expect(keys.find(({ keyId }: any) => keyId === 'ci')).toMatchObject({ revoked: true });
    expect((await api.call('POST', '/api/v1/tenants/local/keys', { keyId: 'x', expiresAt: '2020-01-01' })).status).toBe(
      400,
    );
  });
});

describe('why', () => {
  const place = { policyId: 'default', policyVersion: 1, policySeq: 3 };

  test('a request: choice, inputs, losers and the commit that made the policy', async () => {
    await frames.write(
      recordOf('req-1', Date.now(), [realPick('prefix-cache', 7, place)]),
      recordOf('req-2', Date.now(), [], { outcome: route.Outcome.REJECTED_AUTH, httpStatus: 401 }),
    );
    // At once, whether Postgres has it yet or not.
    const answer = await api.get('/api/v1/why/req-1');
    expect(answer.request).toMatchObject({ requestId: 'req-1', outcome: 'completed' });
    expect(answer.request.picks[0].candidates).toHaveLength(4);
    expect(answer.summary).toContain('by prefix-cache (policy default v1)');
    expect(answer.commits).toMatchObject([{ seq: 3, events: [{ type: 'PolicyAdopted' }], actor: 'diagnostics:test' }]);
    await eventually(async () => expect((await api.get('/api/v1/why/req-1')).source).toBe('postgres'));
    expect((await api.get('/api/v1/why/req-2')).request).toMatchObject({ outcome: 'rejected_auth', picks: [] });
  });

  test('a commit, by its id or its sequence', async () => {
    const { commits } = await api.get('/api/v1/log?after=2&limit=1');
    const byId = await api.get(`/api/v1/why/${encodeURIComponent(commits[0].commitId)}`);
    expect(byId).toMatchObject({
      source: 'log',
      commit: { seq: 3, accepted: true, events: [{ type: 'PolicyAdopted' }] },
    });
    expect((await api.get('/api/v1/why/%233')).commit).toEqual(byId.commit);
  });

  test('an id that nobody knows is 404, and says where it was looked for', async () => {
    const { status, body } = await api.call('GET', '/api/v1/why/nowhere');
    expect([status, body.code]).toEqual([404, 'WHY_NOT_FOUND']);
    expect(body.detail).toContain('not in Postgres');
  });
});

describe('replay', () => {
  const last = (lines: any[]): any => lines.at(-1);

  test('L15 every record of every strategy decides again as it did', async () => {
    const strategies = ['random', 'round-robin', 'least-request', 'power-of-two', 'least-kv-cache', 'session-affinity'];
    const records = strategies.map((strategy, seed) =>
      recordOf(`again-${seed}`, Date.now(), [realPick(strategy, seed)]),
    );
    await frames.write(...records);
    const lines = await api.post('/api/v1/replay', { since: '1h' });
    expect(last(lines)).toMatchObject({
      kind: 'done',
      ok: true,
      source: 'postgres',
      records: 8,
      picksFree: 1,
      equal: 7,
      different: 0,
    });
    expect(last(await api.post('/api/v1/replay', { since: '1h', limit: 2 }))).toMatchObject({ records: 2 });
    expect(last(await api.post('/api/v1/replay', { since: 'now' }))).toMatchObject({ ok: true, records: 0 });
  });

  test('L15 a record that says another choice, an unknown plugin and a broken frame are each told', async () => {
    const pick = realPick('least-request', 3);
    await frames.write(recordOf('lied', Date.now(), [{ ...pick, chosen: (pick.chosen + 1) % 4 }]));
    const builder = new FrameBuilder();
    builder.add(recordOf('future', Date.now(), [realPick('random', 5)]));
    const frame = fromBinary(
      route.RecordFrameSchema,
      builder.finish({ gatewayId: 'gw2', bootId: 'b', frameSeq: 1, closedAtMs: Date.now(), dropped: 0 }),
    );
    const spec = resolveStrategy('random');
    const later = { ...spec, picker: { ...spec.picker, version: 9 } };
    Object.assign(frame.pipelines[0]!, { json: canonicalJson(later), hash: pipelineHash(later) });
    await frames.publish(toBinary(route.RecordFrameSchema, frame));
    const lines = await api.post('/api/v1/replay', { since: '1h' });
    expect(last(lines)).toMatchObject({
      ok: false,
      different: 1,
      missingPlugin: 1,
      first: { requestId: 'lied', text: expect.stringContaining('chosen was') },
      missingPlugins: { 'picker random@9': 1 },
    });
    expect(lines).toContainEqual(expect.objectContaining({ kind: 'missing-plugin', requestId: 'future' }));
    const seq = await frames.publish(new Uint8Array([255, 255, 255]));
    await eventually(async () => {
      const { note } = last(await api.post('/api/v1/replay', { since: '1h' }));
      expect(note).toContain('1 gaps are known');
    });
    expect(seq).toBeGreaterThan(0);
  });

  test('a moment that is none is refused before the first line', async () => {
    const { status, body } = await api.call('POST', '/api/v1/replay', { since: 'yesterday' });
    expect([status, body.code]).toEqual([400, 'MOMENT_INVALID']);
    expect((await api.call('POST', '/api/v1/replay', { sinse: '1h' })).body.code).toBe('BAD_REQUEST');
  });
});

describe('calibration', () => {
  test('predictions against what came of them, by model and decile', async () => {
    const nowMs = Date.now();
    const forecast = (decile: number, measuredMs: number) => ({
      predictedMs: 100,
      lowMs: 50,
      highMs: 200,
      measuredMs,
      decile,
    });
    const records = Array.from({ length: 20 }, (_, i) =>
      recordOf(`foretold-${i}`, nowMs, [realPick('random', 7)], {
        model: 'foretold',
        // All in the upper half: half of the tenths have twice their share.
        ttft: forecast(6 + (i % 5), 110 + 10 * (i % 5)),
        finish: forecast(1 + (i % 10), 100),
      }),
    );
    await frames.write(...records);
    await eventually(async () => {
      const { items } = await api.get('/api/v1/calibration?model=foretold&since=1m');
      expect(items).toMatchObject([
        { model: 'foretold', kind: 'ttft', answers: 20, within: expect.closeTo(0.8), offP90: expect.closeTo(0.5) },
        { kind: 'finish', errorMax: expect.closeTo(0), within: expect.closeTo(0.8), offP50: 0 },
      ]);
      expect(items[0].deciles[0]).toEqual({
        decile: 1,
        answers: 0,
        share: 0,
        error: -0.1,
        predictedMs: null,
        measuredMs: null,
      });
      expect(items[0].deciles[9]).toEqual({
        decile: 10,
        answers: 4,
        share: 0.2,
        error: 0.1,
        predictedMs: 100,
        measuredMs: 150,
      });
    });
    expect((await api.get('/api/v1/why/foretold-0')).request).toMatchObject({
      ttftForecast: { predictedMs: 100, lowMs: 50, highMs: 200, measuredMs: 110, decile: 6 },
    });
    expect((await api.get('/api/v1/calibration?limit=5')).note).toContain('only the 5 oldest records');
  });
});

describe('state', () => {
  test('now, at a sequence, and what changed between', async () => {
    const now = await api.get('/api/v1/state');
    expect(now.state.replicas.map(({ id }: any) => id)).toEqual(['a']);
    const early = await api.get('/api/v1/state?at=2');
    expect(early.at.seq).toBe(2);
    expect(early.state.replicas.map(({ id }: any) => id)).toEqual(['a', 'b']);
    expect(early.state.policies).toEqual([]);
    const { changes, diffWith } = await api.get('/api/v1/state?at=2&diff=now');
    expect(diffWith.seq).toBe(now.at.seq);
    expect(changes).toContainEqual(expect.objectContaining({ kind: 'replicas', id: 'b', change: 'removed' }));
    expect((await api.get('/api/v1/state?at=1h')).at).toEqual({ seq: 0, storedAtMs: null });
    expect((await api.call('GET', '/api/v1/state?at=%23999999')).body.code).toBe('MOMENT_INVALID');
  });
});

describe('log', () => {
  test('pages, filters and follows until the client leaves', async () => {
    const drained = await api.get('/api/v1/log?subject=route.replica.a&limit=2');
    expect(drained.commits).toHaveLength(2);
    expect(drained.commits.every(({ subject }: any) => subject === 'lintel.ev.route.replica.a')).toBe(true);
    expect((await api.call('GET', '/api/v1/log?subject=a%20b')).body.code).toBe('BAD_REQUEST');

    const leave = new AbortController();
    const response = await fetch(`${running.url}/api/v1/log/follow?subject=tenancy.>`, {
      headers: { authorization: `Bearer ${adminKey}` },
      signal: leave.signal,
    });
    expect(response.headers.get('content-type')).toContain('application/x-ndjson');
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    const { seq } = await api.post('/api/v1/tenants/local/keys', { keyId: 'followed' });
    const { value } = await reader.read();
    expect(JSON.parse(Buffer.from(value as Uint8Array).toString())).toMatchObject({
      seq,
      events: [{ type: 'KeyIssued' }],
    });
    leave.abort();
  });
});

describe('verify', () => {
  test('L10 L4 chain, seals and every projected row are as the log says', async () => {
    const { lastSeq } = await api.get('/api/v1/log');
    await eventually(async () => expect((await api.get('/api/v1/notary')).sealedSeq).toBe(lastSeq));
    await eventually(async () => {
      const { items } = await api.get('/api/v1/projections');
      expect(items.map(({ lag }: any) => lag)).toEqual([0, 0, 0, 0, 0]);
    });
    const answer = await api.post('/api/v1/verify', { projections: true });
    expect(answer.projections.filter(({ equal }: any) => !equal)).toEqual([]);
    expect(answer).toMatchObject({ ok: true, lastSeq, sealedThroughSeq: lastSeq, forked: 0, problemsTotal: 0 });
    expect(answer.projections).toHaveLength(5);
    expect(answer.notes).toEqual([]);
  });

  test('L10 seals are copied to Postgres; a copy that differs is evidence', async () => {
    const database = openDatabase({ url: postgres.url });
    const copies = new AnchorCopies(database);
    await eventually(async () => expect(await copies.list()).toEqual(await broker.anchors.readAll()));
    const [first] = (await copies.list()) as [StoredAnchor];
    await copies.store([{ seq: 1, json: '{}' }]);
    expect((await copies.list())[0]).toEqual(first);
    const put = async (json: string): Promise<unknown> =>
      await database.query('update lintel.anchor set json = $1 where seq = 1', [json]);
    await put(first.json.replace(/"sealedAtMs":\d/, '"sealedAtMs":9'));
    expect((await api.post('/api/v1/verify', {})).firstBad).toMatchObject({ seq: 1, rule: 'anchor-copy' });
    await put('rubbish');
    expect((await api.post('/api/v1/verify', {})).firstBad).toMatchObject({ seq: 1, rule: 'anchor-copy' });
    await put(first.json);
    expect((await api.post('/api/v1/verify', {})).ok).toBe(true);
    await database.close();
  });

  test('the key is readable by its owner alone', async () => {
    expect((await stat(join(home, 'keys', 'notary.pem'))).mode & 0o777).toBe(0o600);
  });

  test('the notary tells other services how far it is', async () => {
    const status = await new TypedClient(broker.requester).send('diag.GetNotaryStatus', {});
    expect(status).toMatchObject({ halted: false, lastAnchor: { stream: 'LINTEL_EVENTS' } });
    expect(status.sealedSeq).toBeGreaterThan(0);
  });

  test('L10 the archive verifies offline; a changed line is named by its sequence', async () => {
    const response = await fetch(`${running.url}/api/v1/archive`, { headers: { authorization: `Bearer ${adminKey}` } });
    const lines = (await response.text()).split('\n');
    const verdict = await verifyArchive(
      (async function* () {
        yield* lines;
      })(),
      { registry },
    );
    expect(verdict.report).toMatchObject({ ok: true, forked: 0 });
    const changed = lines.map((line) =>
      line.includes('"seq":2,') ? line.replace('127.0.0.1:8002', '127.0.0.1:6666') : line,
    );
    expect(changed).not.toEqual(lines);
    const forged = await verifyArchive(
      (async function* () {
        yield* changed;
      })(),
      { registry },
    );
    expect(forged.report.firstBad).toMatchObject({ seq: 2, rule: 'hash' });
  });
});

describe('prices and usage', () => {
  test('prices are applied as a commit and listed; usage is told by what is asked, as the ledger has it', async () => {
    const text = `
prices:
  currency: USD
  models:
    - { model: priced, input: 2, cachedInput: 0.5, output: 8, from: "2026-01-01T00:00:00Z" }
    - { model: priced, input: 1, output: 4, from: "2100-01-01T00:00:00Z" }
`;
    const { changes } = await api.post('/api/v1/apply', text);
    expect(changes).toMatchObject([{ what: '+ prices of priced' }]);
    expect((await api.post('/api/v1/apply', text)).changes).toEqual([]);
    const { items } = await api.get(`/api/v1/prices?minSeq=${changes[0].seq}`);
    expect(items).toMatchObject([
      { state: 'to-come', inputNano: 1000, outputNano: 4000 },
      { model: 'priced', currency: 'USD', state: 'in-force', cachedInputNano: 500, seq: changes[0].seq },
    ]);
    const cost = { nano: 5_000_000_001, priceSeq: changes[0].seq, currency: 'USD' };
    const nowMs = Date.now();
    await frames.write(
      recordOf('cost-1', nowMs, [realPick('random', 7)], { tenantId: 'spender', model: 'priced', cost }),
      recordOf('cost-2', nowMs, [realPick('random', 7)], { tenantId: 'spender', model: 'priced', cost }),
      recordOf('cost-3', nowMs, [realPick('random', 7)], { tenantId: 'spender', model: 'free' }),
    );
    await eventually(async () => {
      expect(await api.get('/api/v1/usage?by=tenant,model&tenant=spender&since=1h')).toMatchObject({
        by: ['tenant', 'model'],
        items: [
          { group: { tenant: 'spender', model: 'free' }, requests: 1, unpriced: 1, costs: [], promptTokens: 188 },
          {
            group: { tenant: 'spender', model: 'priced' },
            requests: 2,
            unpriced: 0,
            costs: [{ currency: 'USD', nano: '10000000002' }],
          },
        ],
      });
    });
    expect((await api.call('GET', '/api/v1/usage?by=planet')).status).toBe(400);
    expect((await api.call('GET', '/api/v1/usage?by=day,day')).status).toBe(400);
  });

  test('budgets are listed with what the gateways have reported of them', async () => {
    const { log, readers } = gatewayBroker;
    const handler = new CommandHandler({ log, readers, registry, environment: systemEnvironment, actor: 'gateway:t' });
    const windowStartMs = windowStart(windowsMs.month, Date.now());
    const report = {
      type: 'ReportSpend',
      tenantId: 'spender',
      limitId: 'team',
      holder: 'g:1',
      windowStartMs,
      windowMs: windowsMs.month,
      spent: 81,
      amount: 100,
      limitsSeq: 1,
      alertPercents: [50, 80, 100],
      projectId: '',
      keyId: '',
      endUser: '',
      model: '',
      currency: 'USD',
      soft: true,
    } as const;
    const { seq } = await handler.handle(budget, 'key-1', report, { commandId: 'spend-1' });
    const { items } = await api.get(`/api/v1/budgets?minSeq=${seq}`);
    expect(items).toMatchObject([
      { tenantId: 'spender', limitId: 'team', window: 'month', spentNano: 81, reachedPercents: [50, 80], hard: false },
    ]);
    expect(items[0]).toMatchObject({ windowStartMs, isCurrent: true, amountNano: 100, currency: 'USD' });
  });
});

describe('projections', () => {
  test('are rebuilt beside the tables in use, and found equal again', async () => {
    const lines = await api.post('/api/v1/projections/requests/rebuild');
    expect(lines.at(-1)).toMatchObject({ kind: 'done', projection: 'requests@3' });
    await eventually(async () => {
      const { items } = await api.get('/api/v1/projections');
      const requests = items.filter(({ id }: any) => id === 'requests@3');
      expect(requests).toContainEqual(expect.objectContaining({ phase: 'live', generation: 2, lag: 0, stale: false }));
    });
    const unknown = await api.call('POST', '/api/v1/projections/request/rebuild');
    expect([unknown.status, unknown.body.advice]).toEqual([400, 'Did you mean requests?']);
  });
});

test('L9 dead letters are listed, shown with their commit, and driven again', async () => {
  let healthy = false;
  const reactor = gatewayBroker.makeReactor({
    consumer: 'gateway-test',
    subject: 'lintel.ev.route.configuration.>',
    handler: async () => {
      if (!healthy) throw new Error('not today');
    },
  });
  await gatewayBroker.deadLetters.park({
    $typeName: 'lintel.log.v1.DeadLetter',
    consumer: 'gateway-test',
    stream: 'LINTEL_EVENTS',
    subject: 'lintel.ev.route.configuration.main',
    seq: 6,
    errorCode: 'TEST',
    errorMessage: 'not today',
    deliveries: 5,
    atMs: 1,
  });
  const { items } = await api.get('/api/v1/dead-letters');
  expect(items).toMatchObject([{ consumer: 'gateway-test', seq: 6, deliveries: 5 }]);
  const [{ id }] = items;
  expect(await api.get(`/api/v1/dead-letters/${id}`)).toMatchObject({ id, commit: { seq: 6 } });
  healthy = true;
  await reactor.start();
  expect(await api.post(`/api/v1/dead-letters/${id}/redrive`)).toMatchObject({ id, consumer: 'gateway-test' });
  expect((await api.get('/api/v1/dead-letters')).items).toEqual([]);
  expect((await api.call('GET', `/api/v1/dead-letters/${id}`)).status).toBe(400);
  await reactor.stop();
});
