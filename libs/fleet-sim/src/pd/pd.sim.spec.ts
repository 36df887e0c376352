import { describe, expect, test } from '@jest/globals';
import type { PdOptions, PdReport, PdRole } from './pd.ts';
import { simulatePd } from './pd.ts';

const split: readonly PdRole[] = ['prefill', 'prefill', 'decode', 'decode'];
const whole: readonly PdRole[] = ['combined', 'combined', 'combined', 'combined'];
const run = (given: Partial<PdOptions>): PdReport =>
  simulatePd({
    roles: split,
    strategy: 'pd',
    requests: 300,
    requestsPerS: 4,
    promptTokens: 4_000,
    outputTokens: 200,
    seed: 3,
    ...given,
  });
/** The same fleet where nothing, or everything that can be, is handed over. */
const never = { 'pair-finish': { handoverMs: 60_000, handoverTokensMin: 1_000_000 } };
const always = { 'pair-finish': { othersWeight: 100, handoverMs: 0, transferPerKTokenMs: 0, handoverTokensMin: 0 } };

describe('pd hands over where it pays', () => {
  test.each([1, 2, 3])('long prompts, seed %i: tokens come faster than from as many replicas that do all', (seed) => {
    const pd = run({ seed });
    const combined = run({ seed, roles: whole, strategy: 'lintel' });
    expect(pd.split).toBeGreaterThan(200);
    expect(pd.tpotMs.p90).toBeLessThan(0.75 * combined.tpotMs.p90);
    expect(pd.e2eMs.p50).toBeLessThan(0.9 * combined.e2eMs.p50);
    // The price: half of the replicas compute prompts.
    expect(pd.ttftMs.p50).toBeLessThan(2.5 * combined.ttftMs.p50);
  });

  test.each([1, 2, 3])('long prompts, seed %i: sooner done than without a hand-over', (seed) => {
    expect(run({ seed }).e2eMs.p50).toBeLessThan(0.7 * run({ seed, params: never }).e2eMs.p50);
  });

  test.each([1, 2, 3])(
    'short prompts, seed %i: hardly anything is handed over, which is sooner than all of it',
    (seed) => {
      const short = { seed, promptTokens: 20, outputTokens: 150, requestsPerS: 20 };
      const pd = run(short);
      expect(pd.split).toBeLessThan(75);
      const all = run({ ...short, params: always });
      expect(all.split).toBeGreaterThan(280);
      expect(pd.ttftMs.p50).toBeLessThan(0.8 * all.ttftMs.p50);
      expect(pd.e2eMs.p50).toBeLessThan(1.02 * all.e2eMs.p50);
    },
  );

  test('more prompts than the prefill side can take: the rest is computed where it is answered', () => {
    const flooded = run({ requestsPerS: 8 });
    expect(flooded.split).toBeGreaterThan(100);
    expect(flooded.split).toBeLessThan(250);
    expect(flooded.ttftMs.p90).toBeLessThan(run({ requestsPerS: 8, params: always }).ttftMs.p90);
  });

  test('a slow link is learnt: hand-overs become rare', () => {
    const slow = run({ requestsPerS: 2, linkSlowdown: 200 });
    expect(slow.split).toBeLessThan(0.4 * run({ requestsPerS: 2 }).split);
  });
});

test('L36 the same options give the same report', () => {
  expect(run({ requests: 60 })).toEqual(run({ requests: 60 }));
});

test('prefill replicas answer nothing, and what no role set is for goes by one replica', () => {
  expect(run({ requests: 60 }).perReplica.slice(0, 2)).toEqual([0, 0]);
  expect(run({ requests: 60, roles: whole }).split).toBe(0);
});
