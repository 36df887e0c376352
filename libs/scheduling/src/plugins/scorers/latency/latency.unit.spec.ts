import { describe, expect, test } from '@jest/globals';
import { score } from '../../plugin.fixture.ts';
import { latency } from './latency.scorer.ts';

const quick = { ttftMs: 100, tpotMs: 10, inflight: 2 };
const slow = { ttftMs: 300, tpotMs: 30, inflight: 0 };

test('lowest TTFT with the time of the answer 1, highest 0', () => {
  // With 100 tokens: 1,100, 3,300 and 2,200 ms.
  const rows = [quick, slow, { ttftMs: 200, tpotMs: 20, inflight: 0 }];
  expect(score(latency, { rows })).toEqual({ scores: [1, 0, 0.5], notes: [] });
});

test('a long answer is where tokens come fast, a short one where the first comes soon', () => {
  const rows = [
    { ttftMs: 500, tpotMs: 10 },
    { ttftMs: 100, tpotMs: 20 },
  ];
  expect(score(latency, { rows, request: { maxTokens: 10 } }).scores).toEqual([0, 1]);
  expect(score(latency, { rows, request: { maxTokens: 1_000 } }).scores).toEqual([1, 0]);
  expect(score(latency, { rows: rows.map((row) => ({ ...row, outputTokens: 1_000 })) }).scores).toEqual([1, 0]);
});

test('what was sent since the measuring counts at once: three times the requests, three times the latency', () => {
  const rows = [
    { ttftMs: 100, tpotMs: 0, inflight: 5, measuredInflight: 1 },
    { ttftMs: 200, tpotMs: 0, inflight: 1, measuredInflight: 1 },
    { ttftMs: 250, tpotMs: 0, inflight: 0, measuredInflight: 4 },
  ];
  expect(score(latency, { rows }).scores).toEqual([0, 1, 0.5]);
});

describe('a candidate that was not measured', () => {
  test('is asked while nothing is under way there', () => {
    expect(score(latency, { rows: [quick, { inflight: 0 }, slow] })).toEqual({
      scores: [0, 1, 0],
      notes: ['explore:ttftMs'],
    });
  });

  test('is waited for: the others are compared, and it has no opinion', () => {
    expect(score(latency, { rows: [quick, { inflight: 1 }, slow] })).toEqual({ scores: [1, null, 0], notes: [] });
  });

  test('long ago is asked anew', () => {
    const old = { ttftMs: [900, 60_001] as const, tpotMs: 90, inflight: 0 };
    expect(score(latency, { rows: [quick, old] })).toEqual({ scores: [0, 1], notes: ['explore:ttftMs'] });
    expect(score(latency, { rows: [quick, old], params: { staleMsMax: 120_000 } }).scores).toEqual([1, 0]);
  });

  test('and removed plays no part', () => {
    expect(score(latency, { rows: [quick, { inflight: 0 }, slow], without: [1] }).scores).toEqual([1, null, 0]);
  });
});

test.each([
  ['unknown:ttftMs', { inflight: 3 }, { inflight: 1 }],
  ['stale:ttftMs', { inflight: 3, ttftMs: [1, 90_000] as const }, { inflight: 1, ttftMs: [2, 90_000] as const }],
])('L14 nothing measured: all go by load, with the note %s', (note, one, other) => {
  expect(score(latency, { rows: [one, other] })).toEqual({ scores: [0, 1], notes: [note] });
});

test('L14 one time per token unknown: all go by TTFT', () => {
  const rows = [quick, { ttftMs: 50, inflight: 0 }];
  expect(score(latency, { rows })).toEqual({ scores: [0, 1], notes: ['unknown:tpotMs'] });
});
