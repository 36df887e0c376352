import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { SeededRng } from '#libs/kernel';
import { Fit } from './fit.ts';

const make = (start = [1, 1]): Fit => new Fit({ start, max: [1_000, 1_000], forgetting: 0.99 });

test('finds the line that its observations lie on', () => {
  const fit = make();
  for (let i = 0; i < 2_000; i++) fit.observe([1, i % 7], 5 + 3 * (i % 7), 10);
  expect(fit.coefficients[0]).toBeCloseTo(5, 1);
  expect(fit.coefficients[1]).toBeCloseTo(3, 1);
  expect(fit.predict([1, 10])).toBeCloseTo(35, 1);
});

test('forgets a line that holds no longer', () => {
  const fit = make();
  const rng = new SeededRng(1);
  for (let i = 0; i < 500; i++) fit.observe([1, i % 7], (5 + 3 * (i % 7)) * (0.9 + 0.2 * rng.next()), 10);
  for (let i = 0; i < 1_000; i++) fit.observe([1, i % 7], (50 + 1 * (i % 7)) * (0.9 + 0.2 * rng.next()), 50);
  expect(fit.predict([1, 0])).toBeGreaterThan(40);
  expect(fit.predict([1, 0])).toBeLessThan(60);
});

test('one wild value moves it by no more than a value four times too high', () => {
  const settled = (): Fit => {
    const fit = make();
    for (let i = 0; i < 100; i++) fit.observe([1, i % 3], 10, 10);
    return fit;
  };
  const wild = settled();
  wild.observe([1, 1], 1e9, 10);
  const high = settled();
  high.observe([1, 1], 50, 10);
  expect(wild.coefficients).toEqual(high.coefficients);
});

test('coefficients stay finite and within their bounds, whatever it is told', () => {
  const value = fc.oneof(fc.double({ min: 0, max: 1e6, noNaN: true }), fc.constantFrom(0, 1e-9, 1e6));
  const observation = fc.tuple(fc.double({ min: 0, max: 1e4, noNaN: true }), value);
  fc.assert(
    fc.property(fc.array(observation, { maxLength: 300 }), (observations) => {
      const fit = make();
      for (const [feature, took] of observations) fit.observe([1, feature], took, Math.max(1, took));
      for (const coefficient of fit.coefficients) {
        expect(Number.isFinite(coefficient)).toBe(true);
        expect(coefficient >= 0 && coefficient <= 1_000).toBe(true);
      }
    }),
  );
});

test('a load that never changes for long does not unlearn the slope', () => {
  const fit = make();
  for (let i = 0; i < 200; i++) fit.observe([1, i % 7], 5 + 3 * (i % 7), 10);
  for (let i = 0; i < 20_000; i++) fit.observe([1, 2], 11, 10);
  expect(fit.predict([1, 6])).toBeCloseTo(23, 0);
});
