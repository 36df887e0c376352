import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Column, Decision } from './contract.ts';
import { columns } from './contract.ts';
import { compilePipeline } from './pipeline.ts';
import { strategyNames } from './presets.ts';
import { Scheduler } from './scheduler.ts';
import { resolveStrategy } from './strategy.ts';
import type { Row } from './table.fixture.ts';
import { request, table } from './table.fixture.ts';

const use = (name: string) => compilePipeline(resolveStrategy(name));
const copy = ({ count, chosen, filteredBy, scores, totals, notes }: Decision, width: number) => ({
  chosen,
  filteredBy: [...filteredBy.subarray(0, count)],
  scores: [...scores.subarray(0, count * width)],
  totals: [...totals.subarray(0, count)],
  notes: [...notes],
});

/** How often each candidate was chosen over seeds 0 … picks − 1. */
function tally(name: string, picks: number, ...rows: Row[]): number[] {
  const pipeline = use(name);
  const counts = rows.map(() => 0);
  for (let seed = 0; seed < picks; seed++) counts[pipeline.decide(request(), table(...rows), seed).chosen]!++;
  return counts;
}

describe('presets do what their names promise', () => {
  test('random is uniform: chi² of 3000 picks over 4 below the 0.1 % bound', () => {
    const chi2 = tally('random', 3000, {}, {}, {}, {}).reduce((sum, n) => sum + (n - 750) ** 2 / 750, 0);
    expect(chi2).toBeLessThan(16.27);
  });

  test('round-robin goes round by the seed', () => {
    const pipeline = use('round-robin');
    const chosen = [0, 1, 2, 3, 4].map((seed) => pipeline.decide(request(), table({}, {}, {}), seed).chosen);
    expect(chosen).toEqual([0, 1, 2, 0, 1]);
  });

  test('least-request takes the fewest in flight, and spreads over equals', () => {
    expect(tally('least-request', 50, { inflight: 2 }, { inflight: 1 }, { inflight: 3 })).toEqual([0, 50, 0]);
    const [a, b, c] = tally('least-request', 300, { inflight: 1 }, { inflight: 1 }, { inflight: 2 });
    expect(Math.min(a!, b!)).toBeGreaterThan(100);
    expect(c).toBe(0);
  });

  test('a replica that warms up gets less', () => {
    expect(tally('least-request', 10, { inflight: 3, warmth: 1 }, { inflight: 1, warmth: 0.25 })).toEqual([10, 0]);
  });

  test('power-of-two never takes the worst of three', () => {
    const counts = tally('power-of-two', 300, { inflight: 1 }, { inflight: 2 }, { inflight: 9 });
    expect(counts[2]).toBe(0);
    expect(counts[0]).toBeGreaterThan(counts[1]!);
    expect(tally('power-of-two', 5, { inflight: 1 })).toEqual([5]);
  });

  test('least-kv-cache takes the least use', () => {
    expect(tally('least-kv-cache', 9, { inflight: 0, kvUse: 0.5 }, { inflight: 9, kvUse: 0.1 })).toEqual([0, 9]);
  });

  test('prefix-cache takes the longest cached prefix within the load band', () => {
    const pipeline = use('prefix-cache');
    const four = request({ prefixBlocks: 4 });
    const pick = (...rows: Row[]) => copy(pipeline.decide(four, table(...rows), 1), 1);
    expect(pick({ inflight: 2, prefixBlocks: 1 }, { inflight: 2, prefixBlocks: 3 }).chosen).toBe(1);
    const hot = pick(
      { inflight: 0, prefixBlocks: 0 },
      { inflight: 1, prefixBlocks: 0 },
      { inflight: 9, prefixBlocks: 4 },
    );
    expect(hot).toMatchObject({ chosen: 0, filteredBy: [0, 0, 2] });
    const uneven = pick({ inflight: 20, prefixBlocks: 4 }, { inflight: 1, prefixBlocks: 0 });
    expect(uneven).toMatchObject({ chosen: 1, filteredBy: [1, 0], notes: ['imbalance'] });
  });

  test('prefix-cache without a match is least-request', () => {
    expect(
      use('prefix-cache').decide(request({ prefixBlocks: 4 }), table({ inflight: 2 }, { inflight: 1 }), 3).chosen,
    ).toBe(1);
  });

  test('session-affinity stays where it was when others come and go, and leaves an overloaded replica', () => {
    const pipeline = use('session-affinity');
    const ids = ['a', 'b', 'c', 'd', 'e'];
    for (let hash = 1; hash <= 50; hash++) {
      const session = request({ sessionHash: hash });
      const rows = ids.map((id) => ({ id, inflight: 1 }));
      const home = ids[pipeline.decide(session, table(...rows), hash).chosen]!;
      const without = rows.filter(({ id }, index) => id === home || index !== hash % 5);
      expect(without[pipeline.decide(session, table(...without), hash + 1).chosen]!.id).toBe(home);
      const crowded = rows.map((row) => (row.id === home ? { ...row, inflight: 99 } : row));
      expect(ids[pipeline.decide(session, table(...crowded), hash).chosen]).not.toBe(home);
    }
  });

  test('session-affinity without a session goes by load and says so', () => {
    const decision = use('session-affinity').decide(request(), table({ inflight: 2 }, { inflight: 1 }), 3);
    expect([decision.chosen, decision.notes]).toEqual([1, ['no-session']]);
  });

  test('a mix weighs its members', () => {
    const rows = [
      { inflight: 0, kvUse: 0.9 },
      { inflight: 4, kvUse: 0.1 },
    ];
    expect(use('least-request:2,least-kv-cache:1').decide(request(), table(...rows), 1).chosen).toBe(0);
    expect(use('least-request:1,least-kv-cache:2').decide(request(), table(...rows), 1).chosen).toBe(1);
  });
});

describe('unknown is a state', () => {
  test.each([
    [{ inflight: 5 }, 'unknown:kvUse'],
    [{ inflight: 5, kvUse: [0.01, 60_000] as const }, 'stale:kvUse'],
    [{ inflight: 5, kvUse: [0.01, Number.NaN] as const }, 'stale:kvUse'],
  ])('L14 one replica without a fresh kvUse: all go by load, said in a note', (silent, note) => {
    const decision = use('least-kv-cache').decide(request(), table(silent, { inflight: 1, kvUse: 0.9 }), 1);
    expect([decision.chosen, decision.notes]).toEqual([1, [note]]);
  });

  test('L14 without any signal it is said, not silent', () => {
    expect(use('least-request').decide(request(), table({}, {}), 1).notes).toEqual(['unknown:inflight']);
  });

  test('no candidate is a decision too', () => {
    const decision = use('prefix-cache').decide(request(), table(), 1);
    expect([decision.chosen, decision.count, decision.notes]).toEqual([-1, 0, ['no-candidates']]);
  });
});

const number = fc.oneof(
  fc.constant(Number.NaN),
  fc.integer({ min: 0, max: 30 }),
  fc.double({ min: 0, max: 1, noNaN: true }),
);
const rows = fc.array(
  fc.record(
    Object.fromEntries(columns.map((column) => [column, fc.tuple(number, fc.constantFrom(0, 100, 9999))])) as Record<
      Column,
      fc.Arbitrary<[number, number]>
    >,
  ),
  { maxLength: 40 },
);
const strategies = fc.constantFrom(
  ...strategyNames,
  'least-request:2,prefix-cache:1',
  'random:1,least-kv-cache:3,session-affinity:2',
);
const features = fc.record({ prefixBlocks: fc.nat(20), sessionHash: fc.nat() }).map(request);

describe('laws over any input', () => {
  test('L13 decide is pure, chooses a kept one with a score in [0, 1], and buffers leak nothing between picks', () => {
    const scheduler = new Scheduler();
    fc.assert(
      fc.property(strategies, features, rows, fc.nat(), (name, asked, given, seed) => {
        const spec = resolveStrategy(name);
        const shared = scheduler.compiled(spec);
        const once = copy(shared.decide(asked, table(...given), seed), shared.width);
        const fresh = compilePipeline(spec);
        expect(copy(fresh.decide(asked, table(...given), seed), fresh.width)).toEqual(once);
        // Of role sets it can be that nobody may answer.
        const nobody = name === 'pd' && once.notes.includes('all-filtered');
        expect(once.chosen === -1).toBe(given.length === 0 || nobody);
        if (once.chosen >= 0) expect(once.filteredBy[once.chosen]).toBe(0);
        for (const [index, total] of once.totals.entries()) {
          if (once.filteredBy[index] !== 0) expect(total).toBeNaN();
          else expect(total >= 0 && total <= 1 + 1e-12).toBe(true);
        }
        for (const score of once.scores) expect(Number.isNaN(score) || (score >= 0 && score <= 1)).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  test('least-request never leaves a replica with fewer in flight', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(9), { minLength: 1 }), fc.nat(), (loads, seed) => {
        const { chosen } = use('least-request').decide(
          request(),
          table(...loads.map((inflight) => ({ inflight }))),
          seed,
        );
        expect(loads[chosen]).toBe(Math.min(...loads));
      }),
    );
  });
});
