import { expect, test } from '@jest/globals';
import { score } from '../../plugin.fixture.ts';
import { preble } from './preble.scorer.ts';

const request = { promptTokens: 1_000, prefixBlocks: 10 };
const model = { ttftPerKTokenMs: 100 };

test('above half a match: the least work among those that have the longest', () => {
  const rows = [
    { prefixBlocks: 8, workMs: 900, ...model },
    { prefixBlocks: 8, workMs: 300, ...model },
    { prefixBlocks: 7, workMs: 0, ...model },
  ];
  const { scores, notes } = score(preble, { rows, request });
  expect(scores[1]).toBe(1);
  expect(scores[0]).toBeGreaterThan(0);
  expect([scores[2], notes]).toEqual([0, []]);
});

test('at half or less: work and what is to be computed, in milliseconds', () => {
  // 100 + 50, 40 + 100, 0 + 100.
  const rows = [
    { prefixBlocks: 5, workMs: 100, ...model },
    { prefixBlocks: 0, workMs: 40, ...model },
    { prefixBlocks: 0, workMs: 0, ...model },
  ];
  expect(score(preble, { rows, request })).toEqual({ scores: [0, 0.2, 1], notes: [] });
  expect(score(preble, { rows, request, params: { exploitShareMin: 0.4 } }).scores[0]).toBe(1);
});

test('L14 no model yet: requests in flight stand for work', () => {
  const rows = [
    { prefixBlocks: 8, inflight: 5 },
    { prefixBlocks: 8, inflight: 2, workMs: 1 },
    { prefixBlocks: 0, inflight: 0 },
  ];
  const { scores, notes } = score(preble, { rows, request });
  expect([scores[1], scores[2], notes]).toEqual([1, 0, ['unknown:workMs']]);
});

test('no prefix, or depths unknown: no match', () => {
  const rows = [
    { workMs: 100, ...model },
    { workMs: 0, ...model },
  ];
  expect(score(preble, { rows, request: { promptTokens: 10 } })).toEqual({ scores: [0, 1], notes: ['no-prefix'] });
  expect(score(preble, { rows, request })).toEqual({ scores: [0, 1], notes: ['unknown:prefixBlocks'] });
});
