import { expect, test } from '@jest/globals';
import { filter } from '../../plugin.fixture.ts';
import { loadImbalance } from './load-imbalance.filter.ts';

const loads = (...inflight: number[]) => inflight.map((value) => ({ inflight: value }));

test('over the gap only the least loaded stay, all of them, and the note says so', () => {
  expect(filter(loadImbalance, { rows: loads(3, 20, 3, 4) })).toEqual({ kept: [0, 2], notes: ['imbalance'] });
});

test('a gap of exactly the bound removes nobody', () => {
  expect(filter(loadImbalance, { rows: loads(0, 16) })).toEqual({ kept: [0, 1], notes: [] });
  expect(filter(loadImbalance, { rows: loads(0, 16), params: { inflightGapMax: 15 } }).kept).toEqual([0]);
});

test('removed ones make no gap', () => {
  expect(filter(loadImbalance, { rows: loads(0, 5, 99), without: [2] })).toEqual({ kept: [0, 1], notes: [] });
});

test.each([
  ['unknown', {}, 'unknown:inflight'],
  ['of no known age', { inflight: [0, Number.NaN] as const }, 'stale:inflight'],
])('L14 one count %s: nobody is removed, on both sides, and the note says so', (_, silent, note) => {
  const rows = [...loads(0, 90), silent];
  expect(filter(loadImbalance, { rows })).toEqual({ kept: [0, 1, 2], notes: [note] });
  expect(filter(loadImbalance, { rows: rows.toReversed() })).toEqual({ kept: [0, 1, 2], notes: [note] });
});
