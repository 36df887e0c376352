import { expect, test } from '@jest/globals';
import { score } from '../../plugin.fixture.ts';
import { prefixHit } from './prefix-hit.scorer.ts';

const request = { prefixBlocks: 8 };

test('the share of the blocks, at most 1', () => {
  const rows = [{ prefixBlocks: 0 }, { prefixBlocks: 2 }, { prefixBlocks: 8 }, { prefixBlocks: 9 }];
  expect(score(prefixHit, { rows, request })).toEqual({ scores: [0, 0.25, 1, 1], notes: [] });
});

test('relative: the longest 1, the shortest 0, all equal 1', () => {
  const params = { relative: true };
  const rows = [{ prefixBlocks: 2 }, { prefixBlocks: 3 }, { prefixBlocks: 4 }];
  expect(score(prefixHit, { rows, request, params }).scores).toEqual([0, 0.5, 1]);
  expect(score(prefixHit, { rows: rows.slice(0, 1), request, params }).scores).toEqual([1]);
});

test('a prompt of less than a block has no hits, and the note says so', () => {
  expect(score(prefixHit, { rows: [{ prefixBlocks: 3 }, { prefixBlocks: 0 }] })).toEqual({
    scores: [0, 0],
    notes: ['no-prefix'],
  });
});

test.each([
  ['unknown', {}, 'unknown:prefixBlocks'],
  ['of no known age', { prefixBlocks: [8, Number.NaN] as const }, 'stale:prefixBlocks'],
])('L14 one depth %s: all score 0, on both sides, and the note says so', (_, silent, note) => {
  const rows = [{ prefixBlocks: 4 }, silent];
  expect(score(prefixHit, { rows, request })).toEqual({ scores: [0, 0], notes: [note] });
  expect(score(prefixHit, { rows: rows.toReversed(), request })).toEqual({ scores: [0, 0], notes: [note] });
  expect(score(prefixHit, { rows, request, without: [1] })).toEqual({ scores: [0.5, null], notes: [] });
});
