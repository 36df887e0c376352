import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Row } from '../../../table.fixture.ts';
import { score } from '../../plugin.fixture.ts';
import { predictedFinish } from './predicted-finish.scorer.ts';

const model = { ttftBaseMs: 10, ttftPerKTokenMs: 100, ttftPerDecodingMs: 1, tpotBaseMs: 10, tpotPerDecodingMs: 1 };
const idle: Row = { inflight: 0, prefixBlocks: 0, prefillTokens: 0, decoding: 0, outputTokens: 10, ...model };
const request = { promptTokens: 1_000, prefixBlocks: 10 };

test('the costs are those of the formula', () => {
  // Idle: 10 + 100 + 10 × 11 = 220. Five decode: 10 + 100 + 5 + 10 × 16 + others 5 × (100 + 10) = 825.
  // Half is cached, 2,000 tokens wait: 10 + 250 + 110 = 370.
  const rows = [idle, { ...idle, decoding: 5 }, { ...idle, prefixBlocks: 5, prefillTokens: 2_000 }];
  expect(score(predictedFinish, { rows, request })).toEqual({ scores: [1, 0, (825 - 370) / (825 - 220)], notes: [] });
  const alone = score(predictedFinish, { rows, request, params: { othersWeight: 0, decodeWeight: 0 } }).scores;
  expect(alone).toEqual([1, 1, 0].map((_, i) => (260 - [110, 115, 260][i]!) / 150));
});

test('a cached prefix wins until its replica has more waiting than the prefix is worth', () => {
  const hot = (prefillTokens: number): Row => ({ ...idle, prefixBlocks: 10, prefillTokens });
  expect(score(predictedFinish, { rows: [hot(900), idle], request }).scores).toEqual([1, 0]);
  expect(score(predictedFinish, { rows: [hot(1_100), idle], request }).scores).toEqual([0, 1]);
});

test('a hot prefix is spread before it queues: a full batch counts though nothing waits', () => {
  const hot: Row = { ...idle, prefixBlocks: 8, decoding: 40 };
  expect(score(predictedFinish, { rows: [hot, idle], request }).scores).toEqual([0, 1]);
});

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

test('scores lie in [0, 1], and more load never makes a candidate better', () => {
  fc.assert(
    fc.property(fc.array(load, { minLength: 2, maxLength: 8 }), fc.nat(100_000), fc.nat(50), (loads, tokens, more) => {
      const rows = loads.map((each) => ({ ...idle, ...each }));
      const given = { rows, request };
      const { scores } = score(predictedFinish, given);
      for (const each of scores) expect(each! >= 0 && each! <= 1).toBe(true);
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
