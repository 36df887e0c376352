import { expect, test } from '@jest/globals';
import { filter } from '../../plugin.fixture.ts';
import { loadBand } from './load-band.filter.ts';

const loads = (...inflight: number[]) => inflight.map((value) => ({ inflight: value }));

test('keeps what is at most mean + factor × σ', () => {
  // mean 3, σ = √((9+4+25)/2) ≈ 4.36: the bound is 7.36 at factor 1 and 3 at factor 0.
  const rows = loads(0, 1, 8);
  expect(filter(loadBand, { rows }).kept).toEqual([0, 1]);
  expect(filter(loadBand, { rows, params: { factor: 1.2 } }).kept).toEqual([0, 1, 2]);
  expect(filter(loadBand, { rows: loads(1, 3, 5), params: { factor: 0 } }).kept).toEqual([0, 1]);
});

test('the least loaded always stays, and equals stay together', () => {
  expect(filter(loadBand, { rows: loads(0, 0, 0, 50) }).kept).toEqual([0, 1, 2]);
  // Three thirds add up to less than one: equal loads must not fall to rounding.
  expect(filter(loadBand, { rows: loads(0.1, 0.1, 0.1), params: { factor: 0 } }).kept).toEqual([0, 1, 2]);
});

test('one candidate is left as it is', () => {
  expect(filter(loadBand, { rows: loads(99), params: { factor: 0 } }).kept).toEqual([0]);
});

test('removed ones do not count into the mean', () => {
  expect(filter(loadBand, { rows: loads(1, 2, 3, 1_000), without: [3], params: { factor: 0 } }).kept).toEqual([0, 1]);
});

test.each([
  ['unknown', {}, 'unknown:inflight'],
  ['of no known age', { inflight: [0, Number.NaN] as const }, 'stale:inflight'],
])('L14 one count %s: nobody is removed, on both sides, and the note says so', (_, silent, note) => {
  const rows = [...loads(0, 0, 0, 90), silent];
  expect(filter(loadBand, { rows })).toEqual({ kept: [0, 1, 2, 3, 4], notes: [note] });
  expect(filter(loadBand, { rows: rows.toReversed() })).toEqual({ kept: [0, 1, 2, 3, 4], notes: [note] });
});
