import { expect, test } from '@jest/globals';
import { score } from '../../plugin.fixture.ts';
import { noise } from './noise.scorer.ts';

const rows = [{}, {}, {}, {}];

test('L13 the seed alone decides', () => {
  const { scores, notes } = score(noise, { rows, seed: 5 });
  expect(score(noise, { rows, seed: 5 }).scores).toEqual(scores);
  expect(score(noise, { rows, seed: 6 }).scores).not.toEqual(scores);
  expect(notes).toEqual([]);
});

test('uniform in [0, 1): the mean of 4000 is near a half, and no two of a pick are equal', () => {
  let sum = 0;
  for (let seed = 0; seed < 1_000; seed++) {
    const { scores } = score(noise, { rows, seed });
    for (const value of scores as number[]) {
      expect(value >= 0 && value < 1).toBe(true);
      sum += value;
    }
    expect(new Set(scores).size).toBe(4);
  }
  expect(Math.abs(sum / 4_000 - 0.5)).toBeLessThan(0.02);
});
