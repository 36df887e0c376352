import { expect, test } from '@jest/globals';
import { pick, picks } from '../../plugin.fixture.ts';
import { best } from './best.picker.ts';

const rows = [{ inflight: 3 }, { inflight: 1 }, { inflight: 2 }];

test('the highest total, whatever is in flight', () => {
  expect(pick(best, { rows }, [0.9, 0.2, 0.8])).toBe(0);
});

test('a removed one is never taken', () => {
  expect(pick(best, { rows, without: [0] }, [Number.NaN, 0.2, 0.8])).toBe(2);
});

test('of equal totals the fewest in flight', () => {
  expect(picks(best, 20, { rows }, [0.5, 0.5, 0.5])).toEqual([0, 20, 0]);
});

test('of equals in both one by the seed, each as often as the others', () => {
  const equals = [{ inflight: 1 }, { inflight: 1 }, { inflight: 1 }, { inflight: 2 }];
  const [a, b, c, d] = picks(best, 3_000, { rows: equals }, [0.5, 0.5, 0.5, 0.5]) as [number, number, number, number];
  expect(d).toBe(0);
  // χ² with two degrees of freedom, 0.1 % bound.
  expect([a, b, c].reduce((sum, n) => sum + (n - 1_000) ** 2 / 1_000, 0)).toBeLessThan(13.82);
});

test('L14 an unknown count neither wins nor loses against a known one', () => {
  for (const mixed of [
    [{}, { inflight: 0 }],
    [{ inflight: 0 }, {}],
  ]) {
    const [a, b] = picks(best, 400, { rows: mixed }, [0.5, 0.5]) as [number, number];
    expect(Math.min(a, b)).toBeGreaterThan(140);
  }
});
