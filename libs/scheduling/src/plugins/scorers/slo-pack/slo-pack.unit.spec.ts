import { expect, test } from '@jest/globals';
import type { Row } from '../../../table.fixture.ts';
import { score } from '../../plugin.fixture.ts';
import { sloPack } from './slo-pack.scorer.ts';

const model = { ttftBaseMs: 0, ttftPerKTokenMs: 100, ttftPerDecodingMs: 0, tpotBaseMs: 10, tpotPerDecodingMs: 1 };
const with_ = (prefillTokens: number): Row => ({
  inflight: 0,
  inflightTokens: prefillTokens,
  prefillTokens,
  decoding: 0,
  ...model,
});
const request = { promptTokens: 1_000 };
const rows = [with_(0), with_(1_000), with_(3_000)];

test('the fullest that still meets the target', () => {
  expect(score(sloPack, { rows, request, params: { ttftMs: 250 } }).scores[1]).toBe(1);
  expect(score(sloPack, { rows, request, params: { ttftMs: 400 } }).scores[2]).toBe(1);
});

test('where nobody meets it, without a target and without a model: the emptiest', () => {
  expect(score(sloPack, { rows, request, params: { ttftMs: 50 } }).scores[0]).toBe(1);
  expect(score(sloPack, { rows, request, params: {} })).toEqual({ scores: [1, 2 / 3, 0], notes: [] });
  const unfitted = rows.map((row) => ({ ...row, ttftBaseMs: Number.NaN }));
  expect(score(sloPack, { rows: unfitted, request, params: { ttftMs: 400 } })).toEqual({
    scores: [1, 2 / 3, 0],
    notes: ['unknown:ttftBaseMs'],
  });
});

test('L14 one count of tokens unknown: all go by requests in flight', () => {
  const silent = [{ ...with_(0), inflightTokens: Number.NaN, inflight: 3 }, with_(1_000)];
  expect(score(sloPack, { rows: silent, request, params: { ttftMs: 400 } })).toEqual({
    scores: [0, 1],
    notes: ['unknown:inflightTokens'],
  });
});
