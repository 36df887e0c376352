import { expect, test } from '@jest/globals';
import { pick, picks } from '../../plugin.fixture.ts';
import { random } from './random.picker.ts';

test('uniform over the kept ones, whatever their totals', () => {
  const rows = [{}, {}, {}, {}, {}];
  const counts = picks(random, 4_000, { rows, without: [2] }, [1, 0, Number.NaN, 0, 0]);
  expect(counts[2]).toBe(0);
  const kept = counts.filter((_, index) => index !== 2);
  // χ² with three degrees of freedom, 0.1 % bound.
  expect(kept.reduce((sum, n) => sum + (n - 1_000) ** 2 / 1_000, 0)).toBeLessThan(16.27);
});

test('L13 the same seed picks the same', () => {
  const rows = [{}, {}, {}];
  for (let seed = 0; seed < 20; seed++) {
    expect(pick(random, { rows, seed }, [0, 0, 0])).toBe(pick(random, { rows, seed }, [0, 0, 0]));
  }
});
