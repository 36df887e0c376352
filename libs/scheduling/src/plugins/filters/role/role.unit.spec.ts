import { expect, test } from '@jest/globals';
import { filter } from '../../plugin.fixture.ts';
import { role } from './role.filter.ts';

const prefill = { roles: 1 | 8, pairGroup: 1 };
const decode = { roles: 2 | 4, pairGroup: 1 };
/** As SGLang's: it cannot compute a prompt. */
const bound = { roles: 2, pairGroup: 1 };

test('prefill replicas do not answer', () => {
  expect(filter(role, { rows: [prefill, decode, { roles: 4 }] })).toEqual({ kept: [1, 2], notes: [] });
});

test('a decode replica that depends on another side stays only with one', () => {
  expect(filter(role, { rows: [prefill, bound] }).kept).toEqual([1]);
  expect(filter(role, { rows: [{ ...prefill, pairGroup: 2 }, bound, { roles: 4 }] }).kept).toEqual([2]);
  expect(filter(role, { rows: [{ ...prefill, promptTokensMin: 10 }, bound, { roles: 4 }] }).kept).toEqual([2]);
});

test('where nobody else is left a prefill replica does all of it, if its engine can', () => {
  expect(filter(role, { rows: [prefill, { roles: 1, pairGroup: 1 }] })).toEqual({
    kept: [0],
    notes: ['prefill-alone'],
  });
  expect(filter(role, { rows: [{ roles: 1, pairGroup: 1 }] }).kept).toEqual([]);
});

test('L14 without roles everybody answers', () => {
  expect(filter(role, { rows: [{}, {}] })).toEqual({ kept: [0, 1], notes: [] });
});
