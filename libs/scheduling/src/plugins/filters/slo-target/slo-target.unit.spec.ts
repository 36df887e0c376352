import { expect, test } from '@jest/globals';
import type { Row } from '../../../table.fixture.ts';
import { filter } from '../../plugin.fixture.ts';
import { sloTarget } from './slo-target.filter.ts';

const model = { ttftBaseMs: 0, ttftPerKTokenMs: 100, ttftPerDecodingMs: 0, tpotBaseMs: 10, tpotPerDecodingMs: 1 };
const at = (prefillTokens: number, decoding = 0): Row => ({ prefillTokens, decoding, ...model });
const request = { promptTokens: 1_000 };
/** TTFT 100, 200, 400 ms; TPOT 11, 31, 11 ms. */
const rows = [at(0), at(1_000, 20), at(3_000)];

test.each([
  [{ ttftMs: 200 }, [0, 1], []],
  [{ ttftMs: 400, tpotMs: 20 }, [0, 2], []],
  [{ ttftMs: 1_000 }, [0, 1, 2], []],
  [{ ttftMs: 99 }, [0], ['slo-missed']],
  [{ tpotMs: 10 }, [0, 2], ['slo-missed']],
  [{}, [0, 1, 2], ['no-target']],
])('%j keeps %j', (params, kept, notes) => {
  expect(filter(sloTarget, { rows, request, params })).toEqual({ kept, notes });
});

test('what the request names itself goes before the profile', () => {
  const strict = { ...request, sloTtftMs: 100 };
  expect(filter(sloTarget, { rows, request: strict, params: { ttftMs: 1_000 } }).kept).toEqual([0]);
  const patient = { ...request, sloTtftMs: 500, sloTpotMs: 20 };
  expect(filter(sloTarget, { rows, request: patient, params: {} })).toEqual({ kept: [0, 2], notes: [] });
});

test('where the nearest was removed before, the next nearest is kept', () => {
  expect(filter(sloTarget, { rows, request, params: { ttftMs: 99 }, without: [0] }).kept).toEqual([1]);
});

test('a cached prompt meets what another does not', () => {
  const halves = [
    { ...at(0), prefixBlocks: 5 },
    { ...at(0), prefixBlocks: 0 },
  ];
  const cached = { ...request, prefixBlocks: 10 };
  expect(filter(sloTarget, { rows: halves, request: cached, params: { ttftMs: 60 } }).kept).toEqual([0]);
});

test('L14 the model of one unknown: nobody is removed, on both sides', () => {
  const silent = { ...at(0), ttftPerKTokenMs: Number.NaN };
  for (const pair of [
    [silent, at(9_000)],
    [at(9_000), silent],
  ]) {
    expect(filter(sloTarget, { rows: pair, request, params: { ttftMs: 100 } })).toEqual({
      kept: [0, 1],
      notes: ['unknown:ttftPerKTokenMs'],
    });
  }
});
