import { expect, test } from '@jest/globals';
import { picks } from '../../plugin.fixture.ts';
import { twoChoices } from './two-choices.picker.ts';

test('of two different ones the better: the worst is never taken, the best in 2 of 3', () => {
  const [best, middle, worst] = picks(twoChoices, 3_000, { rows: [{}, {}, {}] }, [0.9, 0.5, 0.1]) as [
    number,
    number,
    number,
  ];
  expect(worst).toBe(0);
  // σ ≈ 26 of 2000.
  expect(Math.abs(best - 2_000)).toBeLessThan(110);
  expect(best + middle).toBe(3_000);
});

test('equal totals are spread evenly', () => {
  const [a, b] = picks(twoChoices, 1_000, { rows: [{}, {}] }, [0.5, 0.5]) as [number, number];
  expect(Math.abs(a - b)).toBeLessThan(110);
});

test('one kept candidate is taken', () => {
  expect(picks(twoChoices, 10, { rows: [{}, {}, {}], without: [0, 2] }, [1, 0, 1])).toEqual([0, 10, 0]);
});
