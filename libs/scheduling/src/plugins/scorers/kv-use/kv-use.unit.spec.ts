import { expect, test } from '@jest/globals';
import { score } from '../../plugin.fixture.ts';
import { kvUse } from './kv-use.scorer.ts';

test('least use 1, most 0, between in proportion', () => {
  expect(score(kvUse, { rows: [{ kvUse: 0.25 }, { kvUse: 0.5 }, { kvUse: 0.75 }] }).scores).toEqual([1, 0.5, 0]);
});

test('equal use scores 1', () => {
  expect(score(kvUse, { rows: [{ kvUse: 0.4 }, { kvUse: 0.4 }] }).scores).toEqual([1, 1]);
});

test('a value as old as staleMsMax still counts', () => {
  const rows = [{ kvUse: [0.2, 5_000] as const }, { kvUse: 0.6 }];
  expect(score(kvUse, { rows })).toEqual({ scores: [1, 0], notes: [] });
  expect(score(kvUse, { rows, params: { staleMsMax: 4_999 } }).notes).toContain('stale:kvUse');
});

test.each([
  ['unknown', { inflight: 5 }, 'unknown:kvUse'],
  ['stale', { inflight: 5, kvUse: [0.01, 5_001] as const }, 'stale:kvUse'],
  ['of no known age', { inflight: 5, kvUse: [0.01, Number.NaN] as const }, 'stale:kvUse'],
])('L14 one use %s: all go by load, on both sides, and the note says so', (_, silent, note) => {
  const other = { inflight: 1, kvUse: 0.9 };
  expect(score(kvUse, { rows: [silent, other] })).toEqual({ scores: [0, 1], notes: [note] });
  expect(score(kvUse, { rows: [other, silent] })).toEqual({ scores: [1, 0], notes: [note] });
});

test('L14 without use and without load both are said', () => {
  expect(score(kvUse, { rows: [{}, { kvUse: 0.1 }] })).toEqual({
    scores: [1, 1],
    notes: ['unknown:kvUse', 'unknown:inflight'],
  });
});

test('a removed candidate without a value degrades nobody', () => {
  const rows = [{ kvUse: 0.2 }, {}, { kvUse: 0.4 }];
  expect(score(kvUse, { rows, without: [1] })).toEqual({ scores: [1, null, 0], notes: [] });
});
