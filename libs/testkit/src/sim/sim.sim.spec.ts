import { describe, expect, test } from '@jest/globals';
import { everyFault, faultKinds, noFaults, plants, simulate } from './index.ts';

const seeds = 300;

test('L1 L2 L3 L4 L5 L6 L7 L8 L9 L10 hold after every step of 300 seeds under a swarm of faults', async () => {
  const report = await simulate({ seeds });
  console.log(
    `${report.seeds} seeds, ${report.steps} steps in ${report.seconds.toFixed(1)} s: ${Math.round(report.stepsPerSecond)} steps/s`,
  );
  expect(report.failures).toEqual([]);
  // A run in which nothing went wrong would prove nothing.
  for (const kind of faultKinds)
    if (kind !== 'fork') expect([kind, report.struck[kind]]).toEqual([kind, expect.any(Number)]);
  expect(report.forked).toBeGreaterThan(0);
  expect(report.commits).toBeGreaterThan(seeds * 50);
}, 300_000);

describe('the simulation finds what is planted', () => {
  test.each(Object.entries(plants))('%s', async (_, { law, parts }) => {
    const { failures } = await simulate({ seeds, plants: parts });
    expect(failures).toHaveLength(1);
    expect(failures[0]?.law).toMatch(new RegExp(`^(${law}) `));
  });

  test('and each law of the fleet has a plant that it finds', () => {
    const found = new Set(Object.values(plants).flatMap(({ law }) => law.split('|')));
    expect([...found].sort()).toEqual(['L1', 'L10', 'L2', 'L3', 'L4', 'L5', 'L6', 'L7', 'L8', 'L9']);
  });

  test.each(Object.entries(plants))('%s is found by its seed again, at the same step', async (_, { parts }) => {
    const [failure] = (await simulate({ seeds, plants: parts })).failures;
    const again = await simulate({ seeds: 1, firstSeed: failure?.seed ?? 0, plants: parts });
    expect(again.failures).toEqual([failure]);
  });
});

describe('L12 the same seed gives the same history', () => {
  const history = async (seed: number): Promise<string> => {
    const lines: string[] = [];
    await simulate({ seeds: 1, firstSeed: seed, trace: (line) => lines.push(line) });
    return lines.join('\n');
  };

  test('byte for byte, and another seed gives another', async () => {
    const first = await history(7);
    expect(first.split('\n').length).toBeGreaterThan(1_000);
    expect(await history(7)).toBe(first);
    expect(await history(8)).not.toBe(first);
  });

  test('a trace, or a stack that is kept, changes nothing', async () => {
    const plain = await simulate({ seeds: 1, firstSeed: 7 });
    const traced = await simulate({ seeds: 1, firstSeed: 7, trace: () => {} });
    expect({ steps: traced.steps, commits: traced.commits }).toEqual({ steps: plain.steps, commits: plain.commits });
  });
});

test('without faults nothing strikes, nothing forks, and every record gets through', async () => {
  const report = await simulate({ seeds: 5, faults: noFaults });
  expect(report).toMatchObject({ failures: [], forked: 0, struck: {} });
});

test('all kinds at once hold the laws too', async () => {
  expect((await simulate({ seeds: 40, faults: everyFault, swarm: false })).failures).toEqual([]);
});
