import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { SlidingSum } from './sliding-sum.ts';

test('what is older than the window falls out, a sixteenth at a time', () => {
  const sum = new SlidingSum(1_600);
  sum.add(5, 0);
  sum.add(7, 850);
  expect([sum.sum(1_599), sum.sum(1_600), sum.sum(2_399), sum.sum(2_400)]).toEqual([12, 7, 7, 0]);
});

test('time is spread over the slots in which it passed', () => {
  const busy = new SlidingSum(1_600);
  busy.addOver(1, 100, 900);
  expect(busy.sum(900)).toBe(800);
  expect(busy.sum(1_800)).toBeLessThanOrEqual(700);
  busy.addOver(1, -1e9, 5_000);
  expect(busy.sum(5_000)).toBeLessThanOrEqual(1_600);
  expect(busy.sum(5_000)).toBeGreaterThanOrEqual(1_500);
});

test('never holds less than lies in the last fifteen sixteenths, nor more than in the window', () => {
  const adding = fc.tuple(fc.nat(100), fc.nat(400));
  fc.assert(
    fc.property(fc.array(adding, { minLength: 1, maxLength: 60 }), (addings) => {
      const sum = new SlidingSum(1_600);
      const all: [number, number][] = [];
      let nowMs = 0;
      for (const [value, afterMs] of addings) {
        nowMs += afterMs;
        sum.add(value, nowMs);
        all.push([value, nowMs]);
      }
      const within = (ms: number): number =>
        all.reduce((total, [value, at]) => total + (nowMs - at < ms ? value : 0), 0);
      expect(sum.sum(nowMs)).toBeGreaterThanOrEqual(within(1_500));
      expect(sum.sum(nowMs)).toBeLessThanOrEqual(within(1_600));
    }),
  );
});
