import { describe, expect, test } from '@jest/globals';
import type { Column } from '#libs/scheduling';
import { compilePipeline, resolveStrategy, strategyNames } from '#libs/scheduling';
import type { Pick } from './fleet.fixture.ts';
import { oneOff, replicas, run, steady, withPrefix } from './fleet.fixture.ts';
import { agents, learnedFeeds, own, tenants } from './index.ts';

const load = steady(400, 20);
const shares = (picks: readonly Pick[], count: number): number[] =>
  Array.from({ length: count }, (_, replica) => picks.filter(({ chosen }) => chosen === replica).length);
const most = (list: readonly number[]): number => list.reduce((a, b) => Math.max(a, b), -Infinity);

describe('a preset does on a fleet what its name says', () => {
  test('round-robin: each in turn, whatever the load', () => {
    const { picks } = run({ workload: load, replicas: oneOff(4, { speed: 0.3 }), strategy: 'round-robin' });
    const first = picks[0]!.chosen;
    expect(picks.map(({ chosen }) => chosen)).toEqual(picks.map((_, at) => (first + at) % 4));
  });

  test('random: evenly in the long run, without an order', () => {
    const { picks } = run({ workload: load, replicas: replicas(4), strategy: 'random' });
    for (const share of shares(picks, 4)) expect(Math.abs(share - 100)).toBeLessThan(40);
    expect(picks.filter(({ chosen }, at) => chosen === picks[at - 1]?.chosen).length).toBeGreaterThan(50);
  });

  test('least-request: never piles up on a slow replica, as round-robin does', () => {
    const fleet = oneOff(4, { speed: 0.25 });
    const { picks, report } = run({ workload: load, replicas: fleet, strategy: 'least-request' });
    for (const { chosen, inflight } of picks) expect(inflight[chosen]).toBe(Math.min(...inflight));
    const blind = run({ workload: load, replicas: fleet, strategy: 'round-robin' });
    expect(shares(picks, 4)[0]).toBeLessThan(shares(picks, 4)[1]! / 2);
    expect(report.ttftMs.p99).toBeLessThan(blind.report.ttftMs.p99);
    expect(report.loadSpread).toBeLessThan(1.3);
    expect(blind.report.loadSpread).toBeGreaterThan(1.5);
  });

  test('power-of-two: far flatter than random', () => {
    const of = (strategy: string) => run({ workload: load, replicas: replicas(8), strategy }).report.loadSpread;
    expect(of('power-of-two')).toBeLessThan(0.8 * of('random'));
  });

  test.each(['least-kv-cache', 'least-gpu-cache'])('%s: avoids the full one', (strategy) => {
    // The same requests fill an eighth of the blocks eight times as far. Slow enough for polls to follow.
    const workload = steady(100, 1_000, 2_048, 1_200);
    const fleet = oneOff(4, { blocks: 3_000 });
    const { report } = run({ workload, replicas: fleet, strategy });
    expect(report.perReplica[0]).toBeLessThan(0.5 * most(report.perReplica.slice(1)));
    const blind = run({ workload, replicas: fleet, strategy: 'round-robin' });
    expect(report.perReplica[0]).toBeLessThan(0.5 * blind.report.perReplica[0]!);
  });

  test('session-affinity: a session stays, and sessions spread', () => {
    const workload = agents.make({ requests: 300, requestsPerS: 12, seed: 5 });
    const { picks, report } = run({ workload, replicas: replicas(4), strategy: 'session-affinity' });
    expect(stayed(picks)).toBeGreaterThan(0.85);
    expect(stayed(run({ workload, replicas: replicas(4), strategy: 'random' }).picks)).toBeLessThan(0.4);
    for (const count of report.perReplica) expect(count).toBeGreaterThan(20);
  });

  test('prefix-cache: a conversation stays with its cache', () => {
    const workload = agents.make({ requests: 300, requestsPerS: 6, seed: 5 });
    const { picks, report } = run({ workload, replicas: replicas(4), strategy: 'prefix-cache' });
    const blind = run({ workload, replicas: replicas(4), strategy: 'random' });
    expect(stayed(picks)).toBeGreaterThan(0.7);
    expect(report.hitRate).toBeGreaterThan(blind.report.hitRate + 0.15);
    expect(report.ttftMs.p50).toBeLessThan(blind.report.ttftMs.p50);
  });

  test('prefix-cache: a hot prefix spreads before it queues', () => {
    const cold = run({
      workload: withPrefix(steady(40, 1_000), 2_048),
      replicas: replicas(4),
      strategy: 'prefix-cache',
    });
    // One at a time there is no reason to leave the replica that has it.
    expect(most(shares(cold.picks, 4))).toBe(40);
    const hot = run({ workload: withPrefix(steady(400, 15), 2_048), replicas: replicas(4), strategy: 'prefix-cache' });
    expect(hot.report.requestSpread).toBeLessThan(2);
    expect(hot.report.hitRate).toBeGreaterThan(0.7);
  });

  test('ideal knowledge finds at least what the index of what was sent believes', () => {
    const workload = agents.make({ requests: 400, requestsPerS: 12, seed: 9 });
    // Small caches, so that engines evict what the index still believes in.
    const fleet = replicas(4, { blocks: 3_000 });
    const approximate = run({ workload, replicas: fleet, strategy: 'prefix-cache' });
    const ideal = run({ workload, replicas: fleet, strategy: 'prefix-cache', knowledge: 'ideal' });
    expect(ideal.report.hitRate).toBeGreaterThan(approximate.report.hitRate - 0.02);
    expect(ideal.picks.map(({ chosen }) => chosen)).not.toEqual(approximate.picks.map(({ chosen }) => chosen));
  });
});

describe('a preset that learns does on a fleet what its name says', () => {
  const slow = oneOff(4, { speed: 0.25 });

  test('every column that a strategy reads is filled', () => {
    const workload = steady(8, 100);
    for (const strategy of strategyNames) {
      expect([strategy, run({ workload, replicas: replicas(2), strategy }).report.unfed]).toEqual([strategy, []]);
    }
  });

  test('least-latency: the slow replica gets next to nothing', () => {
    const { picks } = run({ workload: steady(400, 60), replicas: slow, strategy: 'least-latency' });
    expect(shares(picks.slice(50), 4)[0]).toBeLessThan(0.06 * 350);
  });

  test.each(['slo', 'slo-least-load', 'slo-least-load-pulling', 'slo-pack-load', 'lintel'])(
    '%s: keeps the slow replica shorter than the rest',
    (strategy) => {
      const { picks, report } = run({ workload: load, replicas: slow, strategy });
      const blind = run({ workload: load, replicas: slow, strategy: 'round-robin' });
      expect(shares(picks, 4)[0]).toBeLessThan(0.6 * most(shares(picks, 4).slice(1)));
      expect(report.ttftMs.p90).toBeLessThan(blind.report.ttftMs.p90);
    },
  );

  test('throughput: tokens are level where requests differ, and turns pile the long ones up', () => {
    // Each fourth is long: of four replicas in turn one gets them all. None runs any more when the next one comes.
    const { arrivals, ...rest } = steady(400, 600, 128, 16);
    const long = steady(400, 600, 4_096, 16).arrivals;
    const workload = {
      ...rest,
      arrivals: arrivals.map((request, at) => {
        const { promptTokens } = at % 4 === 0 ? long[at]! : request;
        return { ...request, promptTokens, prompt: [{ first: 1 + at * 5_000, length: promptTokens }] };
      }),
    };
    const tokens = (strategy: string): number[] => {
      const { picks } = run({ workload, replicas: replicas(4), strategy });
      return Array.from({ length: 4 }, (_, replica) =>
        picks.reduce((sum, { chosen, request }) => sum + (chosen === replica ? request.promptTokens : 0), 0),
      );
    };
    const level = tokens('throughput');
    expect(most(level)).toBeLessThan(1.3 * Math.min(...level));
    const turns = tokens('round-robin');
    expect(most(turns)).toBeGreaterThan(5 * Math.min(...turns));
  });

  test.each(['least-busy-time', 'least-utilization'])(
    '%s: the slow replica, busy for longer, gets less',
    (strategy) => {
      const { picks } = run({ workload: steady(400, 120), replicas: slow, strategy });
      expect(shares(picks, 4)[0]).toBeLessThan(0.6 * most(shares(picks, 4).slice(1)));
    },
  );

  test('vtc-basic: light tenants run at one end of the fleet, the heavy one at the other', () => {
    const { arrivals, ...rest } = steady(400, 40);
    const workload = {
      ...rest,
      arrivals: arrivals.map((request, at) => ({ ...request, tenant: at % 8 === 0 ? 'light' : 'heavy' })),
    };
    const meanOf = (tenant: string, strategy: string): number => {
      const { picks } = run({ workload, replicas: replicas(4), strategy });
      const own = picks.slice(50).filter(({ request }) => request.tenant === tenant);
      return own.reduce((sum, { chosen }) => sum + chosen, 0) / own.length;
    };
    expect(meanOf('heavy', 'vtc-basic') - meanOf('light', 'vtc-basic')).toBeGreaterThan(1);
    expect(Math.abs(meanOf('heavy', 'least-request') - meanOf('light', 'least-request'))).toBeLessThan(0.7);
  });

  test.each(['lintel', 'prefix-cache-preble'])(
    '%s: a conversation stays with its cache, and is served sooner for it',
    (strategy) => {
      const workload = agents.make({ requests: 300, requestsPerS: 8, seed: 5 });
      const { picks, report } = run({ workload, replicas: replicas(4), strategy });
      const blind = run({ workload, replicas: replicas(4), strategy: 'least-request' });
      expect(stayed(picks)).toBeGreaterThan(0.6);
      expect(report.hitRate).toBeGreaterThan(blind.report.hitRate + 0.15);
      expect(report.ttftMs.p50).toBeLessThan(blind.report.ttftMs.p50);
    },
  );

  test('lintel: a hot prefix spreads before it queues', () => {
    const { report } = run({ workload: withPrefix(steady(400, 15), 2_048), replicas: replicas(4), strategy: 'lintel' });
    expect(report.requestSpread).toBeLessThan(2.5);
    expect(report.hitRate).toBeGreaterThan(0.7);
    expect(report.ttftMs.p99).toBeLessThan(300);
  });

  test.each([1, 2, 3])('lintel, seed %i: conversations stay together and no replica is left idle', (seed) => {
    const workload = agents.make({ requests: 600, requestsPerS: 12, seed });
    const { report } = run({ workload, replicas: replicas(4), strategy: 'lintel' });
    expect(report.hitRate).toBeGreaterThan(0.8);
    expect(Math.min(...report.perReplica)).toBeGreaterThan((0.3 * workload.count) / 4);
  });

  test('lintel: at saturation more is good than under prefix-cache, with the index or with ideal knowledge', () => {
    const workload = tenants.make({ requests: 1_600, requestsPerS: 100, seed: 2 });
    const good = (strategy: string, knowledge: 'approximate' | 'ideal' = 'approximate') =>
      run({ workload, replicas: replicas(4), strategy, knowledge }).report.goodShare;
    const lintel = good('lintel');
    expect(lintel).toBeGreaterThan(good('prefix-cache'));
    expect(lintel).toBeGreaterThan(good('prefix-cache', 'ideal'));
  });
});

/** Share of later turns that went where the turn before went. */
function stayed(picks: readonly Pick[]): number {
  const last = new Map<string, number>();
  let same = 0;
  let later = 0;
  for (const { request, chosen } of picks) {
    const before = last.get(request.sessionId);
    last.set(request.sessionId, chosen);
    if (before === undefined) continue;
    later++;
    if (before === chosen) same++;
  }
  return same / later;
}

describe('L14 missing and stale signals degrade for all candidates alike, and the decision says so', () => {
  const chosen = (picks: readonly Pick[]): number[] => picks.map((pick) => pick.chosen);
  const workload = steady(300, 50);

  test('a replica that was never polled: all go by requests in flight, from the first pick on', () => {
    const silent = oneOff(4, { silent: { fromMs: 0, untilMs: Infinity } });
    const { picks } = run({ workload, replicas: silent, strategy: 'least-kv-cache' });
    expect(picks.every(({ notes }) => notes.includes('unknown:kvUse'))).toBe(true);
    expect(chosen(picks)).toEqual(chosen(run({ workload, replicas: silent, strategy: 'least-request' }).picks));
  });

  test('polls that stop: values age for five seconds, then all go by requests in flight; fresh ones end it', () => {
    const silent = oneOff(4, { silent: { fromMs: 4_000, untilMs: 12_000 } });
    const { picks } = run({ workload, replicas: silent, strategy: 'least-kv-cache' });
    const degraded = picks.filter(({ notes }) => notes.includes('stale:kvUse')).map(({ request }) => request.atMs);
    // The last answer came up to 1.2 s before the silence, the next one comes up to as long after it.
    expect(degraded[0]).toBeGreaterThan(7_500);
    expect(degraded[0]).toBeLessThan(9_200);
    expect(degraded.at(-1)).toBeGreaterThan(11_800);
    expect(degraded.at(-1)).toBeLessThan(13_300);
    for (const { request, notes, inflight, chosen: one } of picks) {
      expect(notes).toEqual(request.atMs >= degraded[0]! && request.atMs <= degraded.at(-1)! ? ['stale:kvUse'] : []);
      if (notes.length > 0) expect(inflight[one]).toBe(Math.min(...inflight));
    }
  });

  /** What replicas answer to polls, and what the gateway counts itself. What it learns is held to the same by the plugins' own tests. */
  const signals: readonly string[] = ['waiting', 'running', 'kvUse'];
  const counts: readonly string[] = ['inflight', 'prefixBlocks'];
  const cases = strategyNames.flatMap((strategy) => {
    const reads = compilePipeline(resolveStrategy(strategy)).reads.filter((column) => column !== 'warmth');
    // Where a signal leads, counts only tell equals apart.
    const leading = reads.every((column) => counts.includes(column))
      ? reads
      : reads.filter((column) => signals.includes(column));
    return leading.map((column): [string, Column] => [strategy, column]);
  });

  test.each(cases)('%s without %s of one replica is never random in silence', (strategy, column) => {
    const feeds = () => {
      const { columns, ...rest } = learnedFeeds();
      const feed = columns[column] ?? own(() => Number.NaN);
      const holed = {
        ...feed,
        value: (...given: Parameters<typeof feed.value>) => (given[0].index === 0 ? Number.NaN : feed.value(...given)),
      };
      return { ...rest, columns: { ...columns, [column]: holed } };
    };
    const { picks } = run({ workload: withPrefix(steady(60, 50), 512), replicas: replicas(4), strategy, feeds });
    const silent = picks.filter(({ notes }) => !notes.some((note) => note.endsWith(`:${column}`)));
    expect([strategy, column, silent.length]).toEqual([strategy, column, 0]);
  });
});
