import { describe, expect, test } from '@jest/globals';
import { strategyNames } from '#libs/scheduling';
import { oneOff, replicas, run, slo, steady, trace } from './fleet.fixture.ts';
import type { WorkloadSource } from './index.ts';
import { agents, capacityPerS, simulateFleet, tenants, TraceSource } from './index.ts';

const mooncake = new TraceSource('mooncake', slo, trace('mooncake-conversation'), 3_000);
const chat = new TraceSource('azure-conv', slo, trace('azure-2023-conv'));
const code = new TraceSource('azure-code', slo, trace('azure-2023-code'));
const sources: readonly WorkloadSource[] = [mooncake, chat, code, agents, tenants];

describe('L36 the same options give the same history, byte for byte', () => {
  const history = (seed: number, gateways: number): string => {
    const lines: string[] = [];
    const workload = agents.make({ requests: 150, requestsPerS: 30, seed });
    const options = { workload, replicas: replicas(4), strategy: 'prefix-cache', gateways, seed };
    const report = simulateFleet({ ...options, trace: (line) => lines.push(line) });
    return `${lines.join('\n')}\n${JSON.stringify(report)}`;
  };

  test.each([1, 3])('with %d gateways; another seed gives another', (gateways) => {
    const first = history(7, gateways);
    expect(first.split('\n').length).toBeGreaterThan(300);
    expect(history(7, gateways)).toBe(first);
    expect(history(8, gateways)).not.toBe(first);
  });

  test('who watches changes nothing', () => {
    const workload = tenants.make({ requests: 100, requestsPerS: 20, seed: 3 });
    const options = { workload, replicas: replicas(3), strategy: 'least-kv-cache', seed: 3 };
    const watched = simulateFleet({ ...options, trace: () => {}, picked: () => {} });
    expect(watched).toEqual(simulateFleet(options));
  });
});

describe('L33 L34 L35 requests, time and blocks', () => {
  test.each(strategyNames)(
    '%s: hold over workloads and seeds, with overload, slow, small and silent replicas',
    (strategy) => {
      for (const [seed, source] of sources.entries()) {
        const fleet = [
          ...replicas(1),
          ...oneOff(1, { id: 'slow', speed: 0.4 }),
          ...oneOff(1, { id: 'small', blocks: 9_000 }),
          ...oneOff(1, { id: 'silent', silent: { fromMs: 2_000, untilMs: 9_000 } }),
        ];
        const workload = source.make({ requests: 40, requestsPerS: 60, seed });
        const report = simulateFleet({ workload, replicas: fleet, strategy, gateways: 1 + (seed % 2), seed });
        expect(report.requests).toBe(workload.count);
        expect(report.perReplica.reduce((sum, count) => sum + count, 0) + report.refused).toBe(workload.count);
        expect(report.ttftMs.p50).toBeGreaterThan(0);
      }
    },
  );

  test('what no engine could hold is refused and counted, and its session goes on', () => {
    const workload = steady(10, 10, 4_000);
    const { report } = run({ workload, replicas: replicas(2, { blocks: 100 }), strategy: 'random' });
    expect([report.refused, report.goodShare]).toEqual([10, 0]);
  });
});

describe('capacity', () => {
  test('at half of it nobody waits long, above it everybody does', () => {
    const perS = capacityPerS(chat, replicas(1)[0]!);
    const at = (load: number) =>
      simulateFleet({
        workload: chat.make({ requests: 800, requestsPerS: perS * 2 * load, seed: 1 }),
        replicas: replicas(2),
        strategy: 'least-request',
        seed: 1,
      });
    expect(at(0.5).goodShare).toBeGreaterThan(0.95);
    expect(at(1.5).ttftMs.p90).toBeGreaterThan(5 * at(0.5).ttftMs.p90);
  });
});
