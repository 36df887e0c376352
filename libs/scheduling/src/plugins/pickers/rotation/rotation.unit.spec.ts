import { expect, test } from '@jest/globals';
import { pick } from '../../plugin.fixture.ts';
import { rotation } from './rotation.picker.ts';

const rows = [{}, {}, {}, {}];
const turn = (seed: number, without: number[] = []): number => pick(rotation, { rows, seed, without }, [0, 0, 0, 0]);

test('goes round as the seed counts up', () => {
  expect([0, 1, 2, 3, 4, 5].map((seed) => turn(seed))).toEqual([0, 1, 2, 3, 0, 1]);
});

test('passes over removed ones without a double turn for the next', () => {
  expect([0, 1, 2, 3, 4, 5].map((seed) => turn(seed, [1]))).toEqual([0, 2, 3, 0, 2, 3]);
});

test('the seed wraps at 32 bits without a stop', () => {
  expect(turn(0xffff_ffff)).toBe(3);
});
