import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { EventRegistry, route } from '#libs/contracts';
import { hashApiKey } from '#libs/domain/tenancy';
import type { Broker, DecodedCommit } from '#libs/event-log';
import { decodeCommit } from '#libs/event-log';
import { natsBroker } from '#libs/event-log-nats';
import { CodedError } from '#libs/kernel';
import { toCommandHeaders, TypedClient } from '#libs/nest-kit';
import { createLogger } from '#libs/observability';
import type { LaunchedNats } from '#libs/testkit';
import { eventually, launchNats } from '#libs/testkit';
import { chat, desired, freePort, ready, recordsOf } from './gateway.fixture.ts';
import type { GatewayOptions, RunningGateway } from './gateway.ts';
import { startGateway } from './gateway.ts';
import type { TinyEngine } from './tiny-engine.fixture.ts';
import { tinyEngine } from './tiny-engine.fixture.ts';

const logger = createLogger({ name: 'gateway', level: 'silent' });
const registry = new EventRegistry();
const hash = (digit: string): string => digit.repeat(64);
const roundRobin = { 'routing-strategy': 'round-robin' };

describe('a gateway on a real broker', () => {
  let nats: LaunchedNats;
  let home: string;
  let broker: Broker;
  let admin: Broker;
  let client: TypedClient;
  let gateway: RunningGateway;
  let a: TinyEngine;
  let b: TinyEngine;

  /** Closed in reverse at the end, also what a failed test left open. */
  const opened: (() => Promise<void>)[] = [];

  const connect = async (user: string): Promise<Broker> => {
    const { url } = nats;
    const made = await natsBroker({ url, user, password: `${user}-password`, name: `${user}:t`, registry });
    opened.push(() => made.close());
    return made;
  };
  const start = async (more: Partial<GatewayOptions>): Promise<RunningGateway> => {
    const started = await startGateway(options(more));
    opened.push(() => started.stop());
    return started;
  };
  const options = (more: Partial<GatewayOptions> = {}): GatewayOptions => ({
    host: '127.0.0.1',
    port: 0,
    instance: 'g1',
    home,
    broker,
    open: true,
    logger,
    ...more,
  });
  const both = () =>
    desired([
      { replicaId: 'a', url: a.url, source: 'flag' },
      { replicaId: 'b', url: b.url, source: 'flag' },
    ]);
  const commits = async (fromSeq = 1): Promise<DecodedCommit[]> => {
    const found: DecodedCommit[] = [];
    for await (const stored of admin.log.read({ fromSeq })) found.push(decodeCommit(stored, registry));
    return found;
  };
  const stateOf = (id: string): string | undefined =>
    gateway.fleet
      .replicasFor('tiny')
      ?.find((replica) => replica.id === id)
      ?.routability();
  const bothReady = async (): Promise<void> =>
    await eventually(() => expect([stateOf('a'), stateOf('b')]).toEqual(['ready', 'ready']), 8_000);

  beforeAll(async () => {
    nats = await launchNats();
    home = await mkdtemp(join(tmpdir(), 'lintel-gateway-'));
    [broker, admin] = await Promise.all([connect('gateway'), connect('diagnostics')]);
    client = new TypedClient(admin.requester);
    [a, b] = await Promise.all([tinyEngine(), tinyEngine()]);
    gateway = await start({});
  });

  afterAll(async () => {
    for (const close of opened.toReversed()) await close();
    await Promise.all([a.kill(), b.kill()]);
    await nats.stop();
    await rm(home, { recursive: true, force: true });
  });

  test('a configuration becomes commits, requests flow, records land in the stream', async () => {
    expect(await ready(gateway.url)).toMatchObject({
      ready: false,
      dependencies: { replicas: { detail: '0 of 0 ready' } },
    });
    const lines = await gateway.apply(both(), { source: 'flag', contentHash: hash('a') });
    expect(lines).toEqual([`+ replica a ${a.url}`, `+ replica b ${b.url}`]);
    await eventually(async () => expect((await fetch(`${gateway.url}/ready`)).status).toBe(200));
    const answer = await chat(gateway.url);
    expect(await answer.json()).toMatchObject({ choices: [{ message: { content: 'hello' } }] });
    const stream = await chat(gateway.url, { stream: true });
    expect(await stream.text()).toMatch(/"he".*"llo".*\[DONE\]/s);
    const ids = [answer, stream].map(({ headers }) => headers.get('x-lintel-request-id'));
    await eventually(async () => expect((await recordsOf(admin)).map(({ requestId }) => requestId)).toEqual(ids));
    const [registered] = await commits();
    expect(registered?.payload).toMatchObject({
      actor: 'reconciler:g1',
      correlationId: hash('a'),
      reason: { text: 'configuration flag' },
    });
  });

  test('L22 applied again it changes nothing; a document with one refused part is refused whole', async () => {
    const before = await admin.log.lastSeq();
    expect(await gateway.apply(both(), { source: 'flag', contentHash: hash('a') })).toEqual([]);
    const bad = {
      ...both(),
      replicas: [{ replicaId: 'c', url: 'http://127.0.0.1:9', source: 'flag' }],
      policies: [{ policyId: 'p', models: ['*'], defaultProfile: 'x', profiles: [{ name: 'x', strategy: 'no-such' }] }],
    };
    await expect(gateway.apply(bad, { source: 'flag', contentHash: hash('b') })).rejects.toThrow(CodedError);
    expect(await admin.log.lastSeq()).toBe(before);
  });

  test('with a document to come it is not ready, and requests wait, until that is applied or refused', async () => {
    const empty = await launchNats();
    opened.push(() => empty.stop());
    const { url } = empty;
    const fresh = await natsBroker({ url, user: 'gateway', password: 'gateway-password', name: 'gateway:t', registry });
    opened.push(() => fresh.close());
    const more = { broker: fresh, home: join(home, 'fresh'), open: false, applies: true };
    const waiting = await start(more);
    expect(await ready(waiting.url)).toMatchObject({
      ready: false,
      dependencies: { configuration: { state: 'unknown', detail: 'the configuration is not applied yet' } },
    });
    const asked = chat(waiting.url, {}, { authorization: 'Bearer secret' });
    const keys = [{ keyId: 'k', keyHash: hashApiKey('secret') }];
    await waiting.apply(
      { ...both(), tenants: [{ tenantId: 'acme', displayName: 'Acme', keys }] },
      { source: 'flag', contentHash: hash('a') },
    );
    expect((await ready(waiting.url)).dependencies['configuration']).toEqual(expect.objectContaining({ state: 'up' }));
    // Its key is known; the replicas may be found a moment later.
    expect((await asked).status).not.toBe(401);
    await waiting.stop();
    // What was in force stays in force: one that starts again has nothing to wait for but the log.
    const again = await start(more);
    expect((await ready(again.url)).dependencies['configuration']).toEqual(expect.objectContaining({ state: 'up' }));
    await again.stop();
  });

  test('the same document after another one is applied again', async () => {
    const only = desired([{ replicaId: 'a', url: a.url, source: 'flag' }]);
    expect(await gateway.apply(only, { source: 'flag', contentHash: hash('c') })).toEqual([`- replica b ${b.url}`]);
    expect(await gateway.apply(both(), { source: 'flag', contentHash: hash('a') })).toEqual([`+ replica b ${b.url}`]);
    await bothReady();
  });

  test('L1 two gateways with the same file make one effect, and know of each other’s requests', async () => {
    const other = await connect('gateway');
    const second = await start({ instance: 'g2', broker: other, home: join(home, 'g2') });
    try {
      const from = (await admin.log.lastSeq()) + 1;
      const keys = [{ keyId: 'k', keyHash: hash('d') }];
      const file = { ...both(), tenants: [{ tenantId: 't', displayName: 'T', keys }] };
      const origin = { source: 'flag', contentHash: hash('e') };
      const lines = await Promise.all([gateway.apply(file, origin), second.apply(file, origin)]);
      expect(new Set(lines.flat())).toEqual(new Set(['+ tenant t', '+ key k of tenant t']));
      expect((await commits(from)).flatMap(({ events }) => events.map(({ type }) => type)).sort()).toEqual([
        'ConfigurationApplied',
        'KeyIssued',
        'TenantRegistered',
      ]);
      const held = Promise.withResolvers<void>();
      a.answers.set('/v1/chat/completions', (_request, response) => void held.promise.then(() => response.end('{}')));
      const asked = chat(second.url, {}, { 'external-filter': 'zone=a' }).catch(() => {});
      void asked;
      const direct = second.fleet.replicasFor('tiny')?.find(({ id }) => id === 'a');
      direct?.begin();
      await eventually(async () => {
        const { replicas } = await client.send('route.ListReplicas', {});
        const seen = replicas.find(({ registration }) => registration?.replicaId === 'a')?.values['inflight'];
        expect(seen).toBeGreaterThanOrEqual(1);
      });
      direct?.end(route.AttemptEnd.CLIENT_GONE);
      held.resolve();
      a.answers.clear();
    } finally {
      await second.stop();
      await other.close();
    }
  });

  test('commands over the bus change routing, with who and why; queries wait for what they are told', async () => {
    const headers = toCommandHeaders({ actor: 'cli:ann', correlationId: 'corr', traceparent: '00-1-2-01' });
    const drained = await client.send('route.DrainReplica', { replicaId: 'b', reason: 'upgrade' }, { headers });
    expect(drained).toMatchObject({ changed: true });
    const list = await client.send('route.ListReplicas', { minSeq: drained.seq });
    expect(list.atSeq).toBeGreaterThanOrEqual(drained.seq);
    expect(
      list.replicas.map(({ registration, draining, healthy }) => [registration?.replicaId, draining, healthy]),
    ).toEqual([
      ['a', false, true],
      ['b', true, true],
    ]);
    expect((await commits(drained.seq))[0]?.payload).toMatchObject({
      actor: 'cli:ann',
      correlationId: 'corr',
      traceparent: '00-1-2-01',
      reason: { text: 'upgrade' },
    });
    const servedBefore = b.served;
    for (let n = 0; n < 6; n++) expect((await chat(gateway.url, {}, roundRobin)).headers.get('target-pod')).toBe('a');
    expect(b.served).toBe(servedBefore);
    expect(await client.send('route.DrainReplica', { replicaId: 'b', reason: 'again' })).toMatchObject({
      changed: false,
    });
    const resumed = await client.send('route.ResumeReplica', { replicaId: 'b', reason: 'done' });
    await client.send('route.ListReplicas', { minSeq: resumed.seq });
    const pods = new Set<string | null>();
    for (let n = 0; n < 6; n++) pods.add((await chat(gateway.url, {}, roundRobin)).headers.get('target-pod'));
    expect(pods).toEqual(new Set(['a', 'b']));
  });

  test.each([
    ['route.DrainReplica', { replicaId: 'none', reason: '' }, 'ROUTE_REPLICA_UNKNOWN'],
    ['route.DrainReplica', { replicaId: 'not an id', reason: '' }, 'COMMAND_ID_INVALID'],
    ['route.RegisterReplica', {}, 'BAD_REQUEST'],
    ['tenancy.IssueKey', { tenantId: 'none', keyId: 'k', keyHash: hash('a') }, 'TENANCY_TENANT_NOT_FOUND'],
  ] as const)('%s with %o is refused with its code', async (pattern, message, code) => {
    await expect(client.send(pattern, message as never)).rejects.toMatchObject({ code });
  });

  test('a query for what is not there yet says how far it is', async () => {
    const future = { minSeq: (await admin.log.lastSeq()) + 1_000 };
    await expect(client.send('route.ListReplicas', future, { deadlineMs: 300 })).rejects.toMatchObject({
      code: expect.stringMatching(/FOLD_BEHIND|BUS_DEADLINE/),
    });
  });

  test('L1 a command given again under the same id takes effect once', async () => {
    const headers = toCommandHeaders({ commandId: 'once-1' });
    const policy = { policyId: 'p', models: ['x'], defaultProfile: 'd', profiles: [{ name: 'd', strategy: 'random' }] };
    const first = await client.send('route.AdoptPolicy', { policy, source: 'apply' }, { headers });
    await client.send('route.RetirePolicy', { policyId: 'p', reason: 'no more' });
    const second = await client.send('route.AdoptPolicy', { policy, source: 'apply' }, { headers });
    expect(second).toMatchObject({ commitId: first.commitId, seq: first.seq });
  });

  test('keys that are issued over the bus are asked for at once where the gateway is not open', async () => {
    const other = await connect('gateway');
    const guarded = await start({ instance: 'g3', broker: other, home: join(home, 'g3'), open: false });
    try {
      await client.send('tenancy.RegisterTenant', { tenantId: 'u', displayName: 'U', source: 'apply' });
      const keyHash = hashApiKey('lk-secret');
      await client.send('tenancy.IssueKey', { tenantId: 'u', keyId: 'k1', keyHash });
      const withKey = async (key: string): Promise<number> =>
        (await chat(guarded.url, {}, { authorization: `Bearer ${key}` })).status;
      await eventually(async () => expect(await withKey('lk-secret')).toBe(200));
      expect(await withKey('lk-wrong')).toBe(401);
      await client.send('tenancy.RevokeKey', { tenantId: 'u', keyId: 'k1', reason: 'lost' });
      await eventually(async () => expect(await withKey('lk-secret')).toBe(401));
    } finally {
      await guarded.stop();
      await other.close();
    }
  });

  test('L25 a replica that is killed under load costs no client an error, and comes back by itself', async () => {
    await bothReady();
    let kill: Promise<void> | undefined;
    const statuses: number[] = [];
    const worker = async (): Promise<void> => {
      for (let n = 0; n < 40; n++) {
        const answer = await chat(gateway.url, {}, roundRobin);
        await answer.text();
        statuses.push(answer.status);
        if (statuses.length === 60) kill = b.kill();
      }
    };
    await Promise.all(Array.from({ length: 8 }, worker));
    await kill;
    expect(statuses.filter((status) => status !== 200)).toEqual([]);
    await eventually(() => expect(stateOf('b')).toBe('unhealthy'));
    const { replicas } = await client.send('route.ListReplicas', {});
    expect(replicas[1]).toMatchObject({ healthy: false, lastError: expect.stringContaining('ECONNREFUSED') });
    await b.revive();
    await bothReady();
    const pods = new Set<string | null>();
    for (let n = 0; n < 6; n++) pods.add((await chat(gateway.url, {}, roundRobin)).headers.get('target-pod'));
    expect(pods).toEqual(new Set(['a', 'b']));
  });

  test('a request that finds no replica ready says so on the log, once for all that come', async () => {
    await bothReady();
    await Promise.all([a.kill(), b.kill()]);
    await eventually(() => expect([stateOf('a'), stateOf('b')]).toEqual(['unhealthy', 'unhealthy']));
    const answers = await Promise.all([chat(gateway.url), chat(gateway.url), chat(gateway.url)]);
    expect(answers.map(({ status }) => status)).toEqual([503, 503, 503]);
    const wakes = async (): Promise<DecodedCommit[]> =>
      (await commits()).filter(({ subject }) => subject.aggregate === 'wake');
    await eventually(async () => expect(await wakes()).toHaveLength(1));
    expect((await wakes())[0]?.events).toMatchObject([
      { type: 'WakeRequested', data: { model: 'tiny', gatewayId: 'g1', replicas: { unhealthy: 2 } } },
    ]);
    await Promise.all([a.revive(), b.revive()]);
    await bothReady();
  });

  test('L32 what a replica answers to its poller stays its own problem', async () => {
    const evil = await tinyEngine('evil');
    try {
      for (const path of ['/metrics', '/v1/models', '/health', '/is_sleeping']) {
        evil.answers.set(path, (_request, response) => {
          response.writeHead(200);
          const more = (): void => {
            while (!response.destroyed && response.write('\u0000{'.repeat(8_192)));
          };
          response.on('drain', more);
          more();
        });
      }
      await client.send('route.RegisterReplica', { replica: { replicaId: 'evil', url: evil.url, source: 'apply' } });
      await eventually(async () => {
        const { replicas } = await client.send('route.ListReplicas', {});
        expect(replicas.find(({ registration }) => registration?.replicaId === 'evil')).toMatchObject({
          healthy: false,
          lastError: expect.stringMatching(/more than \d+ bytes/),
        });
      });
      for (let n = 0; n < 4; n++) expect((await chat(gateway.url, {}, roundRobin)).status).toBe(200);
      expect(await (await fetch(`${gateway.url}/metrics`)).text()).toMatch(
        /lintel_gateway_replica_polls_total\{replica="evil",end="failed",app="gateway"\} [1-9]/,
      );
    } finally {
      await client.send('route.RemoveReplica', { replicaId: 'evil', reason: 'test' });
      await evil.kill();
    }
  });

  test('one that fails much more than the others is ejected by a commit with its evidence', async () => {
    const from = (await admin.log.lastSeq()) + 1;
    let n = 0;
    b.answers.set('/v1/chat/completions', (_request, response) => {
      // Two of three fail: never so many in a row that the circuit opens.
      if (n++ % 3 === 0) response.end('{}');
      else response.writeHead(502).end();
    });
    for (let sent = 0; sent < 120; sent++) expect((await chat(gateway.url, {}, roundRobin)).status).toBe(200);
    await eventually(() => expect(stateOf('b')).toBe('ejected'));
    b.answers.clear();
    const [ejected] = await commits(from);
    expect(ejected?.events[0]).toMatchObject({ type: 'ReplicaEjected', data: { replicaId: 'b', gatewayId: 'g1' } });
    expect(ejected?.payload).toMatchObject({
      actor: 'gateway:g1',
      reason: { policyName: 'outlier-ejection', text: expect.stringMatching(/\d+ of \d+ requests failed/) },
    });
    await client.send('route.ReadmitReplica', { readmission: { replicaId: 'b', gatewayId: 'g1', reason: 'test' } });
    await bothReady();
  });

  test('L8 requests go on while the bus is killed; each record follows exactly once', async () => {
    const sent: (string | null)[] = [];
    const some = async (count: number): Promise<void> => {
      for (let k = 0; k < count; k++) {
        const answer = await chat(gateway.url);
        expect(answer.status).toBe(200);
        await answer.text();
        sent.push(answer.headers.get('x-lintel-request-id'));
      }
    };
    await some(20);
    nats.kill();
    await some(50);
    await eventually(async () => {
      await some(5);
      const { ready: serves, state, dependencies } = await ready(gateway.url);
      expect([serves, state, dependencies['broker']?.state]).toEqual([true, 'degraded', 'degraded']);
    });
    await nats.restart();
    await some(20);
    await eventually(async () => {
      const ids = (await recordsOf(admin)).map(({ requestId }) => requestId);
      expect(new Set(ids).size).toBe(ids.length);
      expect(new Set(ids)).toEqual(new Set([...ids, ...sent]));
    }, 15_000);
    await eventually(async () => expect((await ready(gateway.url)).state).toBe('up'), 10_000);
    const drained = await client.send('route.DrainReplica', { replicaId: 'a', reason: 'after the bus was away' });
    await client.send('route.ListReplicas', { minSeq: drained.seq });
    expect(stateOf('a')).toBe('draining');
    await client.send('route.ResumeReplica', { replicaId: 'a', reason: 'test' });
  }, 60_000);

  test('started while the bus is away it comes up, says what is missing, and serves when it is there', async () => {
    const other = await connect('gateway');
    const port = await freePort();
    nats.kill();
    await eventually(() => expect(other.connected).toBe(false));
    const starting = start({ instance: 'g4', broker: other, home: join(home, 'g4'), port });
    const url = `http://127.0.0.1:${port}`;
    await eventually(async () => expect((await fetch(`${url}/health`)).status).toBe(200));
    const { ready: serves, dependencies } = await ready(url);
    expect([serves, dependencies['broker']?.state, dependencies['log']?.state]).toEqual([false, 'degraded', 'unknown']);
    await nats.restart();
    const started = await starting;
    await eventually(async () => expect((await ready(url)).ready).toBe(true), 10_000);
    expect((await chat(url)).status).toBe(200);
    await started.stop();
    await other.close();
  }, 60_000);

  test('stopping drains: what is under way ends whole, nothing new is taken, and a start finds its snapshot', async () => {
    const other = await connect('gateway');
    const place = { instance: 'g5', broker: other, home: join(home, 'g5') };
    const first = await start(place);
    await eventually(async () => expect((await ready(first.url)).ready).toBe(true));
    const held = Promise.withResolvers<void>();
    for (const engine of [a, b]) {
      engine.answers.set('/v1/chat/completions', (_request, response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: {"a":1}\n\n');
        void held.promise.then(() => response.end('data: [DONE]\n\n'));
      });
    }
    const stream = await chat(first.url, { stream: true });
    const stopped = first.stop();
    expect(first.stop()).toBe(stopped);
    await eventually(async () => expect((await chat(first.url).catch(() => ({ status: 503 }))).status).toBe(503));
    held.resolve();
    expect(await stream.text()).toBe('data: {"a":1}\n\ndata: [DONE]\n\n');
    await stopped;
    a.answers.clear();
    b.answers.clear();
    await expect(fetch(`${first.url}/health`)).rejects.toThrow();
    expect((await admin.readers.levels()).has('gateway:g5')).toBe(false);
    const again = await start(place);
    expect(await (await fetch(`${again.url}/metrics`)).text()).toMatch(
      /lintel_gateway_fold_from_snapshot\{fold="routing",app="gateway"\} 1/,
    );
    await again.stop();
    await other.close();
  });

  test('a taken port and a wrong name are errors that say what to do', async () => {
    await expect(start({ port: gateway.port, instance: 'g6' })).rejects.toMatchObject({
      code: 'PORT_TAKEN',
      advice: expect.stringContaining('--port'),
    });
    await expect(start({ instance: 'not a name' })).rejects.toMatchObject({ code: 'INSTANCE_INVALID' });
  });
});
