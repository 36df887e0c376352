import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromJson, toJson } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { RunningDiagnostics } from '#apps/diagnostics';
import { startDiagnostics } from '#apps/diagnostics';
import { EventRegistry, route, subjects } from '#libs/contracts';
import { policy, replica } from '#libs/domain/route';
import type { Broker } from '#libs/event-log';
import { CommandHandler, memoryBroker } from '#libs/event-log';
import { natsBroker } from '#libs/event-log-nats';
import { systemEnvironment } from '#libs/kernel';
import { createLogger } from '#libs/observability';
import { capturePick, FrameBuilder } from '#libs/recording';
import { CandidateTable, canonicalJson, compilePipeline, pipelineHash, resolveStrategy } from '#libs/scheduling';
import type { LaunchedNats } from '#libs/testkit';
import { eventually, launchNats } from '#libs/testkit';
import type { Ran, TemporaryHome } from './fake.fixture.ts';
import { homeOf, lintel } from './fake.fixture.ts';

const registry = new EventRegistry();
const logger = createLogger({ name: 'test', level: 'silent' });
const adminKey = 'admin';

const diagnosticsOn = async (broker: Broker, home: string): Promise<RunningDiagnostics> =>
  await startDiagnostics({
    host: '127.0.0.1',
    port: 0,
    instance: 'test',
    home,
    broker,
    databaseUrl: undefined,
    adminKey,
    logger,
    notary: { ageMsMax: 50, pollMs: 20 },
  });

let folder: string;
let broker: Broker;
let handler: CommandHandler;
let diagnostics: RunningDiagnostics;
let home: TemporaryHome;

const ask = async (...argv: string[]): Promise<Ran> => await lintel([...argv, '--home', home.folder]);

/** What a gateway leaves of one request: a real pick among two replicas, recorded in a frame; or one that names another choice. */
async function recordRequest(requestId: string, frameSeq: number, policySeq: number, changed = false): Promise<void> {
  const strategy = 'least-request:2,prefix-cache:1';
  const spec = resolveStrategy(strategy);
  const compiled = compilePipeline(spec);
  const table = new CandidateTable();
  for (const [index, inflight] of [4, 1].entries()) {
    table.add(`r${index + 1}`);
    table.set(index, 'inflight', inflight);
    table.set(index, 'prefixBlocks', index === 0 ? 2 : 0);
    table.set(index, 'waiting', index, 40);
  }
  const features = {
    bodyBytes: 800,
    promptTokens: 190,
    promptTokensExact: false,
    maxTokens: 0,
    sessionHash: 0,
    prefixBlocks: 6,
    sloTtftMs: 0,
    sloTpotMs: 0,
  };
  const pipeline = {
    hash: pipelineHash(spec),
    json: canonicalJson(spec),
    strategy,
    policyId: 'default',
    policyVersion: 1,
    policySeq,
  };
  const pick = capturePick(compiled, pipeline, table, 7, compiled.decide(features, table, 7));
  const builder = new FrameBuilder();
  builder.add({
    requestId,
    receivedAtMs: systemEnvironment.clock.nowMs(),
    tenantId: 'acme',
    keyId: 'ci',
    endUser: '',
    endpoint: '/v1/chat/completions',
    model: 'm',
    adapter: '',
    stream: true,
    features,
    picks: [changed ? { ...pick, chosen: 0 } : pick],
    attempts: [
      { replicaId: 'r2', pick: 0, startMs: 0.4, firstByteMs: 21.5, endMs: 180, end: 1, httpStatus: 200, error: '' },
    ],
    outcome: 1,
    httpStatus: 200,
    errorCode: '',
    errorMessage: '',
    timings: {
      bodyReadMs: 0.2,
      pickedMs: 0.3,
      firstByteMs: 21.5,
      totalMs: 180,
      pickUs: 3,
      tokenSpanMs: 150,
      tokenGaps: 30,
      tokenGapMsMax: 9,
      queuedMs: 0,
    },
    usage: { promptTokens: 188, completionTokens: 32, cachedTokens: 64, fromEngine: true },
    traceparent: '',
    heads: { replicas: 2, policies: 3 },
    profile: 'default',
  });
  const bytes = builder.finish({
    gatewayId: 'gw',
    bootId: 'b1',
    frameSeq,
    closedAtMs: systemEnvironment.clock.nowMs(),
    dropped: 0,
  });
  await broker.frames.publish(subjects.requests('gw'), `gw-b1-${frameSeq}`, bytes);
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lintel-cli-real-'));
  broker = memoryBroker(systemEnvironment, registry);
  handler = new CommandHandler({
    log: broker.log,
    registry,
    environment: systemEnvironment,
    actor: 'gateway:gw',
    readers: broker.readers,
  });
  diagnostics = await diagnosticsOn(broker, folder);
  home = await homeOf({ apiUrl: diagnostics.url, durability: 'memory', pid: process.pid }, adminKey);
  for (const replicaId of ['r1', 'r2']) {
    await handler.handle(
      replica,
      replicaId,
      {
        type: 'RegisterReplica',
        replica: {
          replicaId,
          url: `http://${replicaId}:8000`,
          engine: 1,
          models: ['m'],
          role: 1,
        } as route.ReplicaRegistered,
      },
      { commandId: `register-${replicaId}` },
    );
  }
  const made = await handler.handle(
    policy,
    'default',
    {
      type: 'AdoptPolicy',
      policy: {
        policyId: 'default',
        models: ['*'],
        defaultProfile: 'd',
        profiles: [{ name: 'd', strategy: 'least-request' }],
      } as unknown as route.RoutingPolicy,
      source: 'test',
    },
    { commandId: 'adopt-default' },
  );
  await recordRequest('req-1', 1, made.seq);
  // The gateway's side of one command.
  await broker.responder.respond(subjects.command('route', 'DrainReplica'), 'gateway', async (bytes) => {
    const { replicaId, reason } = fromJson(route.DrainReplicaSchema, JSON.parse(Buffer.from(bytes).toString()));
    const { events: _, ...receipt } = await handler.handle(
      replica,
      replicaId,
      { type: 'DrainReplica', replicaId, reason },
      { commandId: systemEnvironment.ids.uuid() },
    );
    return Buffer.from(
      JSON.stringify(toJson(route.CommandReceiptSchema, { $typeName: 'lintel.route.v1.CommandReceipt', ...receipt })),
    );
  });
});

afterAll(async () => {
  await diagnostics?.stop();
  await broker?.close();
  await home?.remove();
  await rm(folder, { recursive: true, force: true });
});

describe('against the real diagnostics', () => {
  test('why: the choice, over which other, on what evidence, and the commit that made the policy', async () => {
    const { code, out, err } = await ask('why', 'req-1');
    expect([code, err]).toEqual([0, expect.stringContaining('NOT DURABLE')]);
    expect(out.split('\n')[0]).toMatch(
      /^r2 was chosen of 2 candidates by least-request:2,prefix-cache:1 \(policy default v1\)/,
    );
    expect(out).toMatch(/▶ +r2 +chosen/);
    expect(out).toMatch(/ r1 +behind /);
    expect(out).toMatch(/policy +default v1, made by commit \S+ \(#3\) at .* by gateway:gw/);
    const commitId = /made by commit (\S+)/.exec(out)?.[1] ?? '';
    expect((await ask('why', commitId)).out).toContain(
      'Commit #3 made version 1 of route.policy default: PolicyAdopted',
    );
  });

  test('replay decides the same, and verify holds', async () => {
    expect(await ask('replay', '--since', '1h', '--verify')).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^All 1 replayed came to the same choice\./),
    });
    expect(await ask('verify')).toMatchObject({ code: 0, out: expect.stringMatching(/^The log verifies: 3 commits/) });
  });

  test('a record that names another choice than its inputs give is found, and named', async () => {
    await recordRequest('req-2', 2, 3, true);
    const { code, out } = await ask('replay', '--since', '1h');
    expect([code, out]).toEqual([1, expect.stringContaining('different  req-2')]);
    expect(out).toContain('1 record of 2 replayed came to ANOTHER choice than was made.');
    expect(out).toContain('lintel why req-2');
  });

  test('lists, state, timeline', async () => {
    expect((await ask('get', 'replicas')).out).toMatch(/^r1 /m);
    expect((await ask('get', 'policies')).out).toContain('d: least-request');
    expect((await ask('get', 'tenants')).out).toContain('No tenants.');
    expect((await ask('get', 'requests')).out).toMatch(/^req-1 .* m +r2 +completed +200/m);
    expect((await ask('get', 'projections')).code).toBe(0);
    expect((await ask('dead', 'list')).out).toContain('No dead letters.');
    expect((await ask('dead', 'show', '77')).code).toBe(3);
    expect((await ask('state', '--at', '#1')).out).toMatch(/^The fleet as the log says at #1 /);
    expect((await ask('state', '--at', '#3', '--diff', '#1')).out).toContain('+ replicas r2');
    const log = await ask('log', '--limit', '2');
    expect(log.out.split('\n').filter((line) => line.includes('#'))).toHaveLength(2);
    expect((await ask('log', '--subject', 'route.policy', '--json')).out).toContain('"PolicyAdopted"');
    expect((await ask('complete-names', 'replicas')).out).toBe('r1\nr2\n');
  });

  test('a command travels to the gateway and is followed as its commit comes', async () => {
    const second = await diagnosticsOn(broker, folder);
    const watched = await homeOf({ apiUrl: second.url, pid: process.pid }, adminKey);
    const seen: string[] = [];
    const following = lintel(['log', '-f', '--limit', '1', '--home', watched.folder], {
      onOut: (text) => seen.push(text),
    });
    await eventually(() => expect(seen.join('')).toContain('PolicyAdopted'));
    const drained = await ask('replica', 'drain', 'r1', '--reason', 'upgrade');
    expect([drained.code, drained.out]).toEqual([0, expect.stringMatching(/^✓ replica r1 drains\. Commit \S+ \(#4\)/)]);
    await eventually(() => expect(seen.join('')).toMatch(/#4 .*ReplicaDrained .*upgrade/));
    await second.stop();
    await watched.remove();
    expect((await following).code).toBeGreaterThan(0);
    expect((await ask('get', 'replicas')).out).toMatch(/^r1 +draining .*upgrade/m);
    // Nobody serves this one: the bus says so, and so does the exit code.
    expect(await ask('replica', 'resume', 'r1')).toMatchObject({
      code: 4,
      err: expect.stringContaining('BUS_NO_RESPONDER'),
    });
  });

  test('status, and a wrong key', async () => {
    expect(await ask('status')).toMatchObject({ code: 0, out: expect.stringMatching(/broker +up +in memory/) });
    const stranger = await homeOf({ apiUrl: diagnostics.url, pid: process.pid }, 'wrong');
    expect((await lintel(['state', '--home', stranger.folder])).code).toBe(5);
    await stranger.remove();
  });
});

describe('an archive', () => {
  let archive: string;
  let nats: LaunchedNats;
  /** Without the two times that say when it was written. */
  const lasting = async (file: string): Promise<unknown[]> =>
    (await readFile(file, 'utf8'))
      .trim()
      .split('\n')
      .map((line) => ({ ...JSON.parse(line), storedAtMs: 0, createdAtMs: 0 }));

  beforeAll(async () => {
    nats = await launchNats();
    archive = join(folder, 'log.ndjson');
    await eventually(async () => {
      const [{ json } = { json: '{}' }] = (await broker.anchors.readAll()).slice(-1);
      expect(JSON.parse(json).lastSeq).toBe(await broker.log.lastSeq());
    });
  });
  afterAll(async () => {
    delete process.env['LINTEL_NATS_URL'];
    await nats?.stop();
  });

  test('L10 is exported, verified offline, restored into an empty broker, and exported again: equal', async () => {
    expect((await ask('archive', 'export', '-o', archive)).code).toBe(0);
    const { publicKey } = JSON.parse((await ask('status', '--json')).out).notary;
    expect((await lintel(['verify', '--archive', archive, '--trusted-key', publicKey])).code).toBe(0);
    expect(await lintel(['verify', '--archive', archive, '--trusted-key', 'other'])).toMatchObject({
      code: 1,
      out: expect.stringContaining('anchor-key'),
    });

    process.env['LINTEL_NATS_URL'] = nats.urlOf('operator');
    const restored = await lintel(['archive', 'import', archive, '--trusted-key', publicKey]);
    expect([restored.code, restored.out]).toEqual([
      0,
      expect.stringMatching(/^Restored: 4 commits and \d+ anchors?, each at its sequence/),
    ]);
    expect(await lintel(['archive', 'import', archive])).toMatchObject({
      code: 5,
      err: expect.stringContaining('LOG_NOT_EMPTY'),
    });

    const onDisk = await natsBroker({ url: nats.urlOf('diagnostics'), name: 'test', registry });
    const restoredDiagnostics = await diagnosticsOn(onDisk, folder);
    const there = await homeOf({ apiUrl: restoredDiagnostics.url, durability: 'disk', pid: process.pid }, adminKey);
    const again = join(folder, 'again.ndjson');
    const exported = await lintel(['archive', 'export', '-o', again, '--home', there.folder]);
    const verified = await lintel(['verify', '--home', there.folder]);
    await restoredDiagnostics.stop();
    await onDisk.close();
    await there.remove();
    expect([exported.code, verified.code]).toEqual([0, 0]);
    expect(await lasting(again)).toEqual(await lasting(archive));
  });

  test('one that was changed is not restored, and nothing is written', async () => {
    const changed = join(folder, 'changed.ndjson');
    await writeFile(changed, (await readFile(archive, 'utf8')).replace('upgrade', 'holiday'));
    const empty = await launchNats();
    process.env['LINTEL_NATS_URL'] = empty.urlOf('operator');
    const refused = await lintel(['archive', 'import', changed]);
    const log = await natsBroker({ url: empty.urlOf('diagnostics'), name: 'test', registry });
    const lastSeq = await log.log.lastSeq();
    await log.close();
    await empty.stop();
    expect([refused.code, lastSeq]).toEqual([1, 0]);
    expect(refused.err).toContain('does not verify: first at #4');
  });

  test('a home is restored with its own broker, started for this and stopped after it', async () => {
    delete process.env['LINTEL_NATS_URL'];
    const fresh = await homeOf();
    const restored = await lintel(['archive', 'import', archive, '--home', fresh.folder]);
    const twice = await lintel(['archive', 'import', archive, '--home', fresh.folder]);
    await writeFile(fresh.path('lock'), `${process.pid}\n`);
    const locked = await lintel(['archive', 'import', archive, '--home', fresh.folder]);
    const keys = await Promise.all(
      (await readdir(fresh.path('keys'))).map((name) => readFile(fresh.path(`keys/${name}`), 'utf8')),
    );
    await fresh.remove();
    expect(keys).toHaveLength(1);
    // The seals in the file name the same key.
    expect(await readFile(archive, 'utf8')).toContain((keys[0] ?? '').trim());
    expect([restored.code, restored.out]).toEqual([0, expect.stringContaining('read back, they verify')]);
    expect(restored.out).toContain(`lintel up --home ${fresh.folder}`);
    expect(twice).toMatchObject({ code: 5, err: expect.stringContaining('the log holds 4 commits') });
    expect(locked).toMatchObject({ code: 5, err: expect.stringContaining(`a Lintel (pid ${process.pid}) runs in`) });
  });
});
