import { create } from '@bufbuild/protobuf';
import { beforeEach, describe, expect, test } from '@jest/globals';
import { route, tenancy } from '#libs/contracts';
import type { ReplicaCommand } from '#libs/domain/route';
import { emptyRouteState } from '#libs/domain/route';
import { emptyTenancyState } from '#libs/domain/tenancy';
import { MemoryBus } from '#libs/event-log';
import { KvFold } from '#libs/kv-stream';
import { CacheSalts } from '../../edge/cache-salt.ts';
import type { ManualTime } from '../../fleet/manual-time.fixture.ts';
import { manualTime } from '../../fleet/manual-time.fixture.ts';
import { nothingObserved } from '../../fleet/observation.ts';
import { LiveReplica } from '../../fleet/replica.ts';
import type { PreciseIndex } from '../precise-index.ts';
import type { HotPrefix } from './hot-prefixes.ts';
import { warmingLimits as limits } from './limits.ts';
import type { WarmAnswer } from './warm-request.ts';
import { Warmer } from './warmer.ts';

const salts = new CacheSalts('a secret of the operator');
const run = (first: number, length: number): number[] => Array.from({ length }, (_, at) => first + at);

let time: ManualTime;
let bus: MemoryBus;
let replicas: LiveReplica[];
let tenants: Record<string, { warm?: boolean; cacheSalt?: boolean }>;
let tenancySeq: number;
let recorded: Extract<ReplicaCommand, { type: 'RecordWarming' }>['warming'][];
/** What the engine does with the prompt; at once where not set. */
let answer: (prefix: HotPrefix, signal: AbortSignal) => Promise<WarmAnswer>;
let sent: { replicaId: string; gatewayId: string; prefix: HotPrefix }[];

function state() {
  const tenancyState = emptyTenancyState();
  for (const [tenantId, wishes] of Object.entries(tenants)) {
    const registration = create(tenancy.TenantRegisteredSchema, { tenantId, ...wishes });
    tenancyState.tenants.set(tenantId, {
      registration,
      keys: new Map(),
      limits: [],
      projects: new Map(),
      users: new Map(),
    });
  }
  return { route: emptyRouteState(), routeSeq: 5, tenancy: tenancyState, tenancySeq };
}

function warmerOf(gatewayId: string) {
  const kv = { fold: new KvFold(time), watchers: [] as unknown[] } as unknown as PreciseIndex;
  const warmer = new Warmer({
    gatewayId,
    bootId: `boot-${gatewayId}`,
    environment: time,
    telemetry: bus,
    kv,
    replicas: () => replicas,
    state,
    salts,
    issue: async (_id, command) => {
      if (command.type === 'RecordWarming') recorded.push(command.warming);
      return { seq: 1, version: 1, commitId: 'c', events: [], changed: true };
    },
    log: () => {},
    client: (replica) => ({
      close: async () => {},
      compute: async (prefix, signal) => {
        sent.push({ replicaId: replica.id, gatewayId, prefix });
        return await answer(prefix, signal);
      },
    }),
  });
  const ask = (tenantId: string, tokens: readonly number[], times = 10, cacheSalt = ''): void => {
    for (let n = 0; n < times; n++) {
      for (const watcher of kv.watchers) {
        watcher.saw({ base: 'm', adapter: '', cacheSalt, tenantId }, tokens, '', time.clock.monotonicMs());
      }
    }
  };
  return { warmer, kv, ask };
}

const observed = (more: object = {}) => ({
  ...nothingObserved(route.EngineKind.VLLM),
  healthy: true,
  healthAtMs: time.clock.monotonicMs(),
  models: [{ id: 'm', parent: undefined, maxModelLen: undefined }],
  ...more,
});
const load = (waiting: number) => ({ waiting, running: 0, kvUse: 0, kvUseMax: 0, adapters: undefined });

function come(id: string): LiveReplica {
  const registration = create(route.ReplicaRegisteredSchema, { replicaId: id, url: `http://${id}:80` });
  const replica = new LiveReplica(registration, time.clock, () => {});
  replica.observe(observed());
  replicas.push(replica);
  return replica;
}

beforeEach(() => {
  time = manualTime();
  bus = new MemoryBus(time.timers);
  replicas = [];
  tenants = { t: { warm: true } };
  tenancySeq = 1;
  recorded = [];
  sent = [];
  answer = async () => ({ status: 200, cachedTokens: 0 });
});

describe('Warmer', () => {
  test('computes on a new replica what tenants allow, and says what and why', async () => {
    come('old');
    const { warmer, ask } = warmerOf('g1');
    await time.pass(10);
    await warmer.start();
    ask('t', run(1, 300));
    ask('other', run(5_000, 300));
    ask('t', run(9_000, 300), 10, 'chosen by the client');
    await time.pass(1_000);
    expect(sent).toEqual([]);
    come('new');
    await time.pass(1_000);
    expect(sent.map(({ replicaId, prefix }) => [replicaId, prefix.tokens.length, prefix.tokens[0]])).toEqual([
      ['new', 256, 1],
    ]);
    expect(recorded).toMatchObject([
      {
        replicaId: 'new',
        gatewayId: 'g1',
        because: 'new',
        ended: 'done',
        prefixes: [{ tokens: 256, tenantId: 't', model: 'm', outcome: 'computed', cachedTokens: 0 }],
      },
    ]);
    // Once is enough.
    await time.pass(5_000);
    expect(recorded).toHaveLength(1);
    expect(replicas[1]?.inflight).toBe(0);
    await warmer.stop();
  });

  test("a tenant's own salt goes with its prefixes", async () => {
    tenants = { s: { warm: true, cacheSalt: true } };
    const { warmer, ask } = warmerOf('g1');
    await warmer.start();
    ask('s', run(1, 300), 10, salts.of('s', ''));
    ask('s', run(9_000, 300), 10, salts.of('s', 'of one of its users'));
    await time.pass(10);
    come('new');
    await time.pass(1_000);
    expect(sent.map(({ prefix }) => [prefix.cacheSalt, prefix.tokens[0]])).toEqual([[salts.of('s', ''), 1]]);
    await warmer.stop();
  });

  test.each<[string, (replica: LiveReplica) => void]>([
    ['busy:waiting', (replica) => replica.observe(observed({ load: load(2), loadAtMs: 0 }))],
    ['busy:requests', (replica) => Array.from({ length: 5 }, () => replica.begin())],
    ['not-ready', (replica) => void (replica.draining = true)],
  ])('ends it at once: %s', async (why, happens) => {
    const { warmer, ask } = warmerOf('g1');
    await warmer.start();
    ask('t', run(1, 300));
    ask('t', run(9_000, 200));
    answer = async (_prefix, signal) =>
      await new Promise((_done, fail) => {
        signal.addEventListener('abort', () => fail(new Error('aborted')), { once: true });
      });
    await time.pass(10);
    const replica = come('new');
    await time.pass(1_000);
    expect([sent.length, replica.inflight]).toEqual([1, 1]);
    happens(replica);
    await time.pass(limits.busyLookMs);
    expect(recorded).toMatchObject([{ ended: why, prefixes: [{ outcome: 'unanswered' }, { outcome: 'left' }] }]);
    expect([sent.length, replica.circuitAt(time.clock.monotonicMs())]).toEqual([1, 'closed']);
    await warmer.stop();
  });

  test('its own prompt in the queue of the engine is no reason to end', async () => {
    const { warmer, ask } = warmerOf('g1');
    await warmer.start();
    ask('t', run(1, 300));
    answer = async () => {
      await time.timers.sleep(500);
      return { status: 200, cachedTokens: 0 };
    };
    await time.pass(10);
    const replica = come('new');
    await time.pass(600);
    replica.observe(observed({ load: load(1), loadAtMs: 0 }));
    await time.pass(1_000);
    expect(recorded).toMatchObject([{ ended: 'done' }]);
    await warmer.stop();
  });

  test('an engine that refuses, or does not answer in time, is left alone', async () => {
    const { warmer, ask } = warmerOf('g1');
    await warmer.start();
    ask('t', run(1, 300));
    ask('t', run(9_000, 200));
    await time.pass(10);
    answer = async () => ({ status: 400, cachedTokens: undefined });
    come('refuses');
    await time.pass(1_000);
    expect(recorded.pop()).toMatchObject({
      ended: 'failed',
      prefixes: [{ outcome: 'failed:400' }, { outcome: 'left' }],
    });
    answer = async (_prefix, signal) =>
      await new Promise((_done, fail) => {
        signal.addEventListener('abort', () => fail(new Error('aborted')), { once: true });
      });
    const silent = come('silent');
    const alive = async (untilMs: number): Promise<void> => {
      for (let ms = 0; ms < untilMs; ms += 1_000) {
        silent.observe(observed());
        await time.pass(1_000);
      }
    };
    await alive(limits.promptMsMax + 2_000);
    expect(recorded.pop()).toMatchObject({ ended: 'late', prefixes: [{ outcome: 'unanswered' }, { outcome: 'left' }] });
    await warmer.stop();
  });

  test('of two gateways one warms a replica, whichever has seen what is hot', async () => {
    const one = warmerOf('g1');
    const other = warmerOf('g2');
    await one.warmer.start();
    await other.warmer.start();
    for (const { ask } of [one, other]) ask('t', run(1, 300));
    await time.pass(2_000);
    for (let at = 0; at < 12; at++) come(`r${at}`);
    await time.pass(10_000);
    expect(sent.map(({ replicaId }) => replicaId).sort()).toEqual(replicas.map(({ id }) => id).sort());
    expect(new Set(sent.map(({ gatewayId }) => gatewayId))).toEqual(new Set(['g1', 'g2']));
    const counted = [one, other].map(({ warmer }) => warmer.decisions.get('left:other-gateway') ?? 0);
    expect((counted[0] ?? 0) + (counted[1] ?? 0)).toBe(12);
    // A gateway that stops is not waited for.
    await one.warmer.stop();
    await time.pass(limits.heardMs + limits.tellMs);
    for (let at = 12; at < 18; at++) come(`r${at}`);
    await time.pass(5_000);
    expect(sent).toHaveLength(18);
    await other.warmer.stop();
  });

  test('where no tenant allows it nothing is watched, and what was kept is let go when a tenant changes its mind', async () => {
    tenants = { t: {} };
    const { warmer, kv, ask } = warmerOf('g1');
    await warmer.start();
    expect(kv.watchers).toEqual([]);
    tenants = { t: { warm: true } };
    tenancySeq++;
    await time.pass(1_000);
    expect(kv.watchers).toEqual([warmer]);
    ask('t', run(1, 300));
    expect(warmer.hot.keptTokens).toBe(256);
    tenants = {};
    tenancySeq++;
    come('new');
    await time.pass(1_000);
    expect([kv.watchers, warmer.hot.keptTokens, sent]).toEqual([[], 0, []]);
    await warmer.stop();
  });

  test('stopping ends what is under way and records it', async () => {
    const { warmer, ask } = warmerOf('g1');
    await warmer.start();
    ask('t', run(1, 300));
    answer = async (_prefix, signal) =>
      await new Promise((_done, fail) => {
        signal.addEventListener('abort', () => fail(new Error('aborted')), { once: true });
      });
    await time.pass(10);
    come('new');
    await time.pass(1_000);
    await warmer.stop();
    expect(recorded).toMatchObject([{ ended: 'stopping' }]);
  });
});
