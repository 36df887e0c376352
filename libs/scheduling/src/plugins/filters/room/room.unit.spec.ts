import { expect, test } from '@jest/globals';
import type { Row } from '../../../table.fixture.ts';
import { filter } from '../../plugin.fixture.ts';
import { room } from './room.filter.ts';

const sent = (workMs: number): Row => ({ workMs, ttftPerKTokenMs: 100, tpotPerDecodingMs: 1, outputTokens: 100 });
/** Own work: 100 ms of prefill and 100 of decode. */
const request = { promptTokens: 1_000 };

test('those whose window has room for this one', () => {
  const rows = [sent(0), sent(29_800), sent(29_801)];
  expect(filter(room, { rows, request })).toEqual({ kept: [0, 1], notes: [] });
  expect(filter(room, { rows, request, params: { utilizationMax: 0.5 } }).kept).toEqual([0]);
});

test('where none has room, the one with most', () => {
  expect(filter(room, { rows: [sent(50_000), sent(40_000)], request })).toEqual({ kept: [1], notes: ['no-room'] });
});

test('L14 work of one unknown: nobody is removed', () => {
  const rows = [{ ...sent(0), workMs: Number.NaN }, sent(90_000)];
  expect(filter(room, { rows, request })).toEqual({ kept: [0, 1], notes: ['unknown:workMs'] });
});
