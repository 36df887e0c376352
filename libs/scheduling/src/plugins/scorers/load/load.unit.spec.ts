import { expect, test } from '@jest/globals';
import { score } from '../../plugin.fixture.ts';
import { load } from './load.scorer.ts';

test('least load 1, most 0, between in proportion', () => {
  expect(score(load, { rows: [{ inflight: 0 }, { inflight: 1 }, { inflight: 4 }] }).scores).toEqual([1, 0.75, 0]);
});

test('a replica at half warmth with one request counts like a warm one with three', () => {
  const rows = [{ inflight: 1, warmth: 0.5 }, { inflight: 3, warmth: 1 }, { inflight: 7 }];
  expect(score(load, { rows }).scores).toEqual([1, 1, 0]);
  // Nothing divides by a warmth near 0.
  expect(score(load, { rows: [{ inflight: 0, warmth: 0 }, { inflight: 98 }, { inflight: 0 }] }).scores).toEqual([
    0,
    1 / 99,
    1,
  ]);
});

test('equal loads score 1, and so does one alone', () => {
  expect(score(load, { rows: [{ inflight: 3 }, { inflight: 3 }] }).scores).toEqual([1, 1]);
  expect(score(load, { rows: [{ inflight: 3 }] }).scores).toEqual([1]);
});

test('a removed candidate does not stretch the scale', () => {
  const rows = [{ inflight: 0 }, { inflight: 2 }, { inflight: 100 }];
  expect(score(load, { rows, without: [2] }).scores).toEqual([1, 0, null]);
});

test.each([
  ['unknown', {}, 'unknown:inflight'],
  ['of no known age', { inflight: [9, Number.NaN] as const }, 'stale:inflight'],
])('L14 one count %s: all are equal, on both sides, and the note says so', (_, silent, note) => {
  for (const rows of [
    [silent, { inflight: 0 }, { inflight: 9 }],
    [{ inflight: 0 }, { inflight: 9 }, silent],
  ]) {
    expect(score(load, { rows })).toEqual({ scores: [1, 1, 1], notes: [note] });
  }
});
