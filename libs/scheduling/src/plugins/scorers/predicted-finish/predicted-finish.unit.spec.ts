import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Row } from '../../../table.fixture.ts';
import { score } from '../../plugin.fixture.ts';
import { predictedFinish } from './predicted-finish.scorer.ts';

const model = { ttftBaseMs: 10, ttftPerKTokenMs: 100, ttftPerDecodingMs: 1, tpotBaseMs: 10, tpotPerDecodingMs: 1 };
const idle: Row = { inflight: 0, prefixBlocks: 0, prefillTokens: 0, decoding: 0, outputTokens: 10, ...model };
const request = { promptTokens: 1_000, prefixBlocks: 10 };

const spreadOf = (...costs: number[]): number[] => {
  const most = Math.max(...costs);
  return costs.map((cost) => (most - cost) / (most - Math.min(...costs)));
};
const close = (scores: readonly (number | null)[]): unknown[] =>
  scores.map((each) => expect.closeTo(each as number, 9));

test('the costs are those of the formula', () => {
  const rows = [idle, { ...idle, decoding: 5 }, { ...idle, prefixBlocks: 5, prefillTokens: 3_000 }];
  // The mean wait is 100 ms of 100 + 100, so that others count half.
  const params = { decodeWeight: 1, pressureHalfMs: 100 };
  // Idle: 10 + 100 + 10 × 11. Five decode: 10 + 100 + 5 + 10 × 16 + half of 5 × (100 + 10). Half is cached, 3,000 wait: 10 + 350 + 110.
  expect(score(predictedFinish, { rows, request, params })).toEqual({
    scores: close(spreadOf(220, 550, 470)),
    notes: [],
  });
  const alone = score(predictedFinish, { rows, request, params: { othersWeight: 0, decodeWeight: 0 } }).scores;
  expect(alone).toEqual(close(spreadOf(110, 115, 360)));
});

test('a cached prefix wins until its replica has more waiting than the prefix is worth', () => {
  const hot = (prefillTokens: number): Row => ({ ...idle, prefixBlocks: 10, prefillTokens });
  expect(score(predictedFinish, { rows: [hot(900), idle], request }).scores).toEqual([1, 0]);
  expect(score(predictedFinish, { rows: [hot(1_100), idle], request }).scores).toEqual([0, 1]);
});

test('a hot prefix is spread before it queues: a full batch counts though nothing waits there', () => {
  const hot: Row = { ...idle, prefixBlocks: 8, decoding: 100 };
  expect(score(predictedFinish, { rows: [hot, idle], request }).scores).toEqual([0, 1]);
});

test('under pressure a long prompt keeps away from where many decode', () => {
  const many: Row = { ...idle, decoding: 30 };
  const queue = (prefillTokens: number): Row => ({ ...idle, decoding: 2, prefillTokens });
  const long = { promptTokens: 5_000, prefixBlocks: 0 };
  expect(score(predictedFinish, { rows: [many, queue(4_000)], request: long }).scores).toEqual([0, 1]);
  // A short one hurts nobody there, and does not wait behind the queue.
  const short = { promptTokens: 20, prefixBlocks: 0 };
  expect(score(predictedFinish, { rows: [many, queue(4_000)], request: short }).scores).toEqual([1, 0]);
});

test('blocks that are to be brought from host memory or storage cost their way', () => {
  const on = (hostBlocks: number, storageBlocks: number): Row => ({
    ...idle,
    prefixBlocks: 10,
    hostBlocks,
    storageBlocks,
  });
  const params = { hostBlockMs: 1, storageBlockMs: 5, decodeWeight: 0 };
  const rows = [on(0, 0), on(10, 0), on(0, 10)];
  expect(score(predictedFinish, { rows, request, params }).scores).toEqual(close(spreadOf(0, 10, 50)));
  // Where the medium of one is unknown none pays.
  const partly = [on(0, 0), on(10, Number.NaN)];
  expect(score(predictedFinish, { rows: partly, request, params }).scores).toEqual([1, 1]);
});

test('an adapter that is to be loaded first costs its load', () => {
  const [here, away]: Row[] = [
    { ...idle, adapterResident: 1 },
    { ...idle, adapterResident: 0 },
  ];
  const busy = (prefillTokens: number): Row => ({ ...here, prefillTokens }) as Row;
  const params = { adapterLoadMs: 300 };
  expect(score(predictedFinish, { rows: [away as Row, busy(2_900)], request, params }).scores).toEqual([0, 1]);
  expect(score(predictedFinish, { rows: [away as Row, busy(3_100)], request, params }).scores).toEqual([1, 0]);
});

test.each([[[Number.NaN, 0]], [[0, Number.NaN]]])(
  'L14 an adapter unknown on one side counts for none: %j',
  (places) => {
    const rows = places.map((adapterResident) => ({ ...idle, adapterResident }));
    expect(score(predictedFinish, { rows, request })).toEqual({ scores: [1, 1], notes: ['unknown:adapterResident'] });
  },
);

test('a replica that warms up costs more', () => {
  expect(score(predictedFinish, { rows: [{ ...idle, warmth: 0.5 }, idle], request }).scores).toEqual([0, 1]);
});

test.each([
  ['unknown:ttftBaseMs', { ...idle, ttftBaseMs: Number.NaN }],
  ['unknown:tpotPerDecodingMs', { ...idle, tpotPerDecodingMs: Number.NaN }],
])('L14 a model unknown on one side: all go by tokens, with the note %s', (note, silent) => {
  const cached = { ...idle, prefixBlocks: 10 };
  expect(score(predictedFinish, { rows: [silent, cached], request })).toEqual({ scores: [0, 1], notes: [note] });
  expect(score(predictedFinish, { rows: [cached, silent], request })).toEqual({ scores: [1, 0], notes: [note] });
});

test('L14 no token counts: all go by requests in flight', () => {
  const rows = [{ ...idle, prefillTokens: Number.NaN, inflight: 3 }, idle];
  expect(score(predictedFinish, { rows, request })).toEqual({ scores: [0, 1], notes: ['unknown:prefillTokens'] });
});

const load = fc.record({
  prefillTokens: fc.nat(1_000_000),
  decoding: fc.nat(1_000),
  prefixBlocks: fc.nat(10),
  inflight: fc.nat(1_000),
});

test('scores lie in [0, 1], and more load never makes a candidate better for the request itself', () => {
  fc.assert(
    fc.property(fc.array(load, { minLength: 2, maxLength: 8 }), fc.nat(100_000), fc.nat(50), (loads, tokens, more) => {
      const rows = loads.map((each) => ({ ...idle, ...each }));
      for (const each of score(predictedFinish, { rows, request }).scores) expect(each! >= 0 && each! <= 1).toBe(true);
      // More load anywhere is more pressure, which weighs what all candidates' others lose.
      const given = { rows, request, params: { othersWeight: 0 } };
      const { scores } = score(predictedFinish, given);
      const [first, ...rest] = rows;
      const heavier = { ...first!, prefillTokens: first!.prefillTokens + tokens, decoding: first!.decoding + more };
      const before = scores.map((each, index) => [each!, index] as const);
      const after = score(predictedFinish, { ...given, rows: [heavier, ...rest] }).scores;
      // Whom the first was behind it stays behind.
      for (const [each, index] of before)
        if (each > scores[0]!) expect(after[index]!).toBeGreaterThanOrEqual(after[0]!);
    }),
  );
});
