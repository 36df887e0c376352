import { create } from '@bufbuild/protobuf';
import { describe, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import type { ReplicaCommand, RouteState } from '#libs/domain/route';
import { emptyRouteState } from '#libs/domain/route';
import { MemoryBus } from '#libs/event-log';
import { CodedError } from '#libs/kernel';
import { CandidateTable } from '#libs/scheduling';
import { circuitLimits, fleetLimits, outlierLimits } from './limits.ts';
import { LiveFleet } from './live-fleet.ts';
import { manualTime } from './manual-time.fixture.ts';
import type { LiveReplica } from './replica.ts';
import type { ProbeResult } from './probe.ts';
import { viewOf } from './view.ts';

const { AttemptEnd } = route;

type Answers = Record<string, string | number>;

const engine = (models: string[], load = ''): Answers => ({
  '/health': 200,
  '/metrics': load === '' ? 404 : load,
  '/v1/models': JSON.stringify({ data: models.map((id) => ({ id, owned_by: 'vllm' })) }),
});

/** A fleet over a fold that the test writes by hand. `answers` by origin. */
function fleetOf(answers: Record<string, Answers>) {
  const time = manualTime();
  const state: RouteState = emptyRouteState();
  const issued: { command: ReplicaCommand; text: string | undefined }[] = [];
  let logAway = false;
  const fleet = new LiveFleet({
    gatewayId: 'g1',
    bootId: 'boot',
    environment: time,
    telemetry: new MemoryBus(time.timers),
    routeSeq: () => 7,
    log: () => {},
    probe: async (origin, path): Promise<ProbeResult> => {
      const answer = answers[origin]?.[path] ?? 404;
      return typeof answer === 'number' ? { status: answer, text: '' } : { status: 200, text: answer };
    },
    issue: async (_id, command, { reason }) => {
      if (logAway) throw new CodedError('LOG_UNAVAILABLE', 'away');
      issued.push({ command, text: typeof reason === 'object' ? reason.text : undefined });
      return { seq: 1, version: 1, commitId: 'c', events: [], changed: true };
    },
  });
  const put = (id: string, more: object = {}, flags: { draining?: boolean; ejectedBy?: string[] } = {}): void => {
    const before = state.replicas.get(id)?.registration;
    const wanted = create(route.ReplicaRegisteredSchema, { replicaId: id, url: `http://${id}:80`, ...more });
    const registration = before !== undefined && Object.keys(more).length === 0 ? before : wanted;
    state.replicas.set(id, { registration, draining: false, ejectedBy: [], version: 1, seq: 1, ...flags });
    fleet.follow(state);
  };
  const remove = (id: string): void => {
    state.replicas.delete(id);
    fleet.follow(state);
  };
  return {
    time,
    fleet,
    issued,
    put,
    remove,
    logAway: (away: boolean) => (logAway = away),
    replica: (id: string): LiveReplica => fleet.replica(id) as LiveReplica,
  };
}

const attempt = (replica: LiveReplica, end: route.AttemptEnd, times = 1): void => {
  for (let n = 0; n < times; n++) {
    replica.begin();
    replica.end(end);
  }
};

describe('the fleet', () => {
  test('names models and their replicas in a stable order, whatever came first', async () => {
    const { time, fleet, put } = fleetOf({ 'http://b:80': engine(['tiny', 'big']), 'http://a:80': engine(['tiny']) });
    put('b');
    put('a');
    expect(fleet.settling).toBe(true);
    await time.pass(100);
    expect(fleet.settling).toBe(false);
    expect(fleet.models().map(({ id }) => id)).toEqual(['big', 'tiny']);
    expect(fleet.replicasFor('tiny')?.map(({ id }) => id)).toEqual(['a', 'b']);
    expect(fleet.replicasFor('big')?.map(({ id }) => id)).toEqual(['b']);
    expect(fleet.replicasFor('none')).toBeUndefined();
  });

  test('what was registered with models is known before it answers; adapters of those come with its answer', async () => {
    const models = JSON.stringify({
      data: [{ id: 'tiny', max_model_len: 8 }, { id: 'l0', parent: 'tiny' }, { id: 'hidden' }],
    });
    const { time, fleet, put } = fleetOf({ 'http://a:80': { '/health': 200, '/v1/models': models } });
    put('a', { models: ['tiny'], engine: route.EngineKind.VLLM });
    expect(fleet.settling).toBe(false);
    expect(fleet.models()).toEqual([{ id: 'tiny', parent: undefined, maxModelLen: undefined }]);
    await time.pass(100);
    expect(fleet.models()).toEqual([
      { id: 'l0', parent: 'tiny', maxModelLen: undefined },
      { id: 'tiny', parent: undefined, maxModelLen: 8 },
    ]);
  });

  test('a replica that never says its models keeps nobody waiting for ever', async () => {
    const { time, fleet, put } = fleetOf({ 'http://a:80': { '/v1/models': '<html>' } });
    put('a');
    await time.pass(fleetLimits.settlingMsMax + 1);
    expect(fleet.settling).toBe(false);
  });

  test('is the same object as long as its registration is', async () => {
    const { fleet, put, remove, replica } = fleetOf({});
    put('a');
    const before = replica('a');
    put('a', {}, { draining: true });
    expect(replica('a')).toBe(before);
    expect(before.routability()).toBe('draining');
    put('a', { url: 'http://elsewhere:1' });
    expect(replica('a')).not.toBe(before);
    expect(replica('a')).toMatchObject({ address: 'elsewhere:1', inflight: 0 });
    remove('a');
    expect(fleet.replicas).toEqual([]);
  });

  test('whether requests may go: unknown until it answered, then as it is', async () => {
    const answers = { 'http://a:80': engine(['tiny']) };
    const { time, put, replica } = fleetOf(answers);
    put('a');
    const a = replica('a');
    expect(a.routability()).toBe('unknown');
    await time.pass(100);
    expect(a.routability()).toBe('ready');
    answers['http://a:80']['/health'] = 500;
    await time.pass(3_000);
    expect(a.routability()).toBe('unhealthy');
    answers['http://a:80']['/health'] = 200;
    answers['http://a:80']['/is_sleeping'] = '{"is_sleeping":true}';
    await time.pass(20_000);
    expect(a.routability()).toBe('asleep');
    put('a', {}, { ejectedBy: ['other'] });
    expect(a.routability()).toBe('asleep');
    put('a', {}, { ejectedBy: ['g1'] });
    expect(a.routability()).toBe('ejected');
    put('a', {}, { ejectedBy: ['g1'], draining: true });
    expect(a.routability()).toBe('draining');
  });

  test('the circuit acts at once; an answer of a poll after ill health lets it be probed', async () => {
    const answers = { 'http://a:80': engine(['tiny']) };
    const { time, put, replica } = fleetOf(answers);
    put('a');
    await time.pass(100);
    const a = replica('a');
    attempt(a, AttemptEnd.OVERLOADED, 50);
    attempt(a, AttemptEnd.CLIENT_GONE, 50);
    expect(a.routability()).toBe('ready');
    attempt(a, AttemptEnd.CONNECT_FAILED, circuitLimits.failuresMax);
    expect(a.routability()).toBe('circuit-open');
    await time.pass(circuitLimits.openMsMin);
    a.begin();
    expect(a.routability()).toBe('circuit-open');
    a.end(AttemptEnd.ANSWERED);
    expect(a.routability()).toBe('ready');
  });

  test('L14 a row of the table has what is known, each with its age, and leaves out what is not', async () => {
    const { time, put, replica } = fleetOf({
      'http://a:80': engine(['tiny'], 'vllm:num_requests_running 2\nvllm:kv_cache_usage_perc 0.25\n'),
    });
    put('a');
    const table = new CandidateTable();
    const row = (): Record<string, [number, number]> => {
      table.reset();
      replica('a').describe(table, table.add('a'));
      return Object.fromEntries(
        (['inflight', 'running', 'waiting', 'kvUse', 'warmth'] as const).map((column) => [
          column,
          [table.values(column)[0] as number, table.agesMs(column)[0] as number],
        ]),
      );
    };
    expect(row()).toMatchObject({ inflight: [0, 0], running: [Number.NaN, Number.NaN], warmth: [0, 0] });
    await time.pass(1);
    replica('a').begin();
    await time.pass(500);
    expect(row()).toMatchObject({
      inflight: [1, 0],
      running: [2, 501],
      waiting: [Number.NaN, Number.NaN],
      kvUse: [0.25, 501],
    });
  });

  test('warms up from 0 to 1 after it came into routing, and anew when it comes back', async () => {
    const answers = { 'http://a:80': engine(['tiny']) };
    const { time, put, replica } = fleetOf(answers);
    put('a');
    await time.pass(1);
    const warmth = (): number => replica('a').warmthAt(time.clock.monotonicMs());
    expect(warmth()).toBeLessThan(0.01);
    await time.pass(fleetLimits.slowStartMs / 2);
    expect(warmth()).toBeCloseTo(0.5, 1);
    await time.pass(fleetLimits.slowStartMs);
    expect(warmth()).toBe(1);
    put('a', {}, { draining: true });
    put('a', {}, { draining: false });
    expect(warmth()).toBe(0);
  });

  test('its view says what was registered, what answers, and what is wrong', async () => {
    const { time, put, replica } = fleetOf({ 'http://a:80': engine(['tiny'], 'vllm:num_requests_running 2\n') });
    put('a', { labels: { zone: 'z' } });
    await time.pass(100);
    expect(viewOf(replica('a'), time.clock.monotonicMs())).toMatchObject({
      registration: { replicaId: 'a', engine: route.EngineKind.VLLM, labels: { zone: 'z' } },
      healthy: true,
      circuit: 'closed',
      values: { inflight: 0, running: 2 },
      servedModels: ['tiny'],
      lastError: '',
    });
  });
});

describe('ejection of the one that stands out', () => {
  async function standingOut() {
    const world = fleetOf(Object.fromEntries(['a', 'b', 'c'].map((id) => [`http://${id}:80`, engine(['tiny'])])));
    for (const id of ['a', 'b', 'c']) world.put(id);
    await world.fleet.start();
    await world.time.pass(100);
    attempt(world.replica('b'), AttemptEnd.ANSWERED, 100);
    attempt(world.replica('c'), AttemptEnd.ANSWERED, 100);
    for (let n = 0; n < 20; n++) {
      attempt(world.replica('a'), AttemptEnd.SERVER_ERROR, 2);
      attempt(world.replica('a'), AttemptEnd.ANSWERED);
    }
    return world;
  }

  test('is a command with its evidence, given once; the routing changes when the fold says so', async () => {
    const { time, fleet, issued, put, replica } = await standingOut();
    await time.pass(outlierLimits.evaluatePeriodMs);
    expect(issued).toEqual([
      {
        command: {
          type: 'EjectReplica',
          ejection: expect.objectContaining({
            replicaId: 'a',
            gatewayId: 'g1',
            failures: 40,
            requests: 60,
            ejectMs: outlierLimits.ejectMsMin,
          }),
        },
        text: '40 of 60 requests failed in 30 s, 0 of 200 elsewhere',
      },
    ]);
    expect(replica('a').routability()).toBe('ready');
    put('a', {}, { ejectedBy: ['g1'] });
    expect(replica('a').routability()).toBe('ejected');
    await time.pass(5_000);
    expect(issued).toHaveLength(1);
    await time.pass(outlierLimits.ejectMsMin - 5_000 + outlierLimits.evaluatePeriodMs);
    expect(issued.at(-1)?.command).toEqual({
      type: 'ReadmitReplica',
      readmission: { replicaId: 'a', gatewayId: 'g1', reason: 'its time is over' },
    });
    put('a', {}, { ejectedBy: [] });
    expect(fleet.ejector.ejections).toBe(1);
    await time.pass(5_000);
    expect(issued).toHaveLength(2);
  });

  test('while the log is away it is tried again, not piled up', async () => {
    const { time, fleet, issued, logAway } = await standingOut();
    logAway(true);
    await time.pass(5_000);
    expect(fleet.ejector.lastError).toContain('away');
    logAway(false);
    await time.pass(outlierLimits.commandRetryMs + outlierLimits.evaluatePeriodMs);
    expect(issued.map(({ command }) => command.type)).toEqual(['EjectReplica']);
  });

  test('one that was ejected before a restart is let back after its time', async () => {
    const { time, fleet, issued, put } = fleetOf({ 'http://a:80': engine(['tiny']) });
    put('a', {}, { ejectedBy: ['g1'] });
    await fleet.start();
    await time.pass(outlierLimits.ejectMsMin + 2 * outlierLimits.evaluatePeriodMs);
    expect(issued.map(({ command }) => command.type)).toContain('ReadmitReplica');
  });
});
