import { expect, test } from '@jest/globals';
import { score } from '../../plugin.fixture.ts';
import { tokenRate } from './token-rate.scorer.ts';

test('fewest tokens a second 1, most 0, equal 1', () => {
  const rows = [{ tokensPerS: 100 }, { tokensPerS: 400 }, { tokensPerS: 200 }];
  expect(score(tokenRate, { rows })).toEqual({ scores: [1, 0, 2 / 3], notes: [] });
  expect(score(tokenRate, { rows: [{ tokensPerS: 0 }, { tokensPerS: 0 }] }).scores).toEqual([1, 1]);
});

test('L14 one rate unknown: all go by load, whichever side it is on', () => {
  const silent = { inflight: 5 };
  const busy = { inflight: 0, tokensPerS: 900 };
  expect(score(tokenRate, { rows: [silent, busy] })).toEqual({ scores: [0, 1], notes: ['unknown:tokensPerS'] });
  expect(score(tokenRate, { rows: [busy, silent] })).toEqual({ scores: [1, 0], notes: ['unknown:tokensPerS'] });
});
