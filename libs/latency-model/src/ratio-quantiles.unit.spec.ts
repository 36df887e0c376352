import { describe, expect, test } from '@jest/globals';
import { Forecast, RatioQuantiles } from './ratio-quantiles.ts';

const limits = { observationsMin: 50, observationsMax: 1_000 };

/** 0 to 1, evenly, out of order. */
const even = (index: number): number => (index * 0.618_033_988_75) % 1;

describe('quantiles of measured ∕ predicted', () => {
  test('are unknown until enough was seen', () => {
    const ratios = new RatioQuantiles(limits);
    for (let i = 0; i < 49; i++) ratios.observe(1);
    expect(ratios.at(0.5)).toBeNaN();
    expect(ratios.cuts).toBeUndefined();
    ratios.observe(1);
    expect(ratios.at(0.5)).toBeCloseTo(1, 1);
    expect(ratios.cuts).toHaveLength(9);
  });

  test('lie within a step of the true ones', () => {
    const ratios = new RatioQuantiles(limits);
    for (let i = 0; i < 900; i++) ratios.observe(1 + even(i));
    for (const share of [0.05, 0.3, 0.5, 0.9, 0.99]) {
      expect(Math.abs(ratios.at(share) / (1 + share) - 1)).toBeLessThan(0.045);
    }
  });

  test('follow what changes, and pass over what is no ratio', () => {
    const ratios = new RatioQuantiles(limits);
    for (let i = 0; i < 2_000; i++) ratios.observe(1);
    for (const none of [Number.NaN, 0, -1]) ratios.observe(none);
    for (let i = 0; i < 4_000; i++) ratios.observe(3);
    expect(ratios.at(0.1)).toBeGreaterThan(2.8);
    expect(ratios.at(0.1)).toBeLessThan(3.1);
  });

  test('hold the ends of the scale', () => {
    const ratios = new RatioQuantiles(limits);
    for (let i = 0; i < 100; i++) ratios.observe(i % 2 === 0 ? 1e-9 : 1e9);
    expect([ratios.at(0.4) < 0.02, ratios.at(0.9) > 60]).toEqual([true, true]);
  });
});

describe('a forecast', () => {
  test('is judged by the deciles of the time when it was made', () => {
    const ratios = new RatioQuantiles(limits);
    for (let i = 0; i < 900; i++) ratios.observe(1 + even(i));
    const { cuts } = ratios;
    const before = [...(cuts as Float64Array)];
    const deciles = Array.from({ length: 10 }, (_, at) => {
      const forecast = new Forecast(200, cuts);
      forecast.came(200 * (1.05 + at / 10));
      return forecast.decile;
    });
    expect(deciles).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    for (let i = 0; i < 900; i++) ratios.observe(9);
    void ratios.cuts;
    expect([...(cuts as Float64Array)]).toEqual(before);
  });

  test('without deciles tells its ratio alone', () => {
    const forecast = new Forecast(200, undefined);
    expect([forecast.came(300), forecast.decile, forecast.lowMs, forecast.highMs]).toEqual([
      1.5,
      0,
      Number.NaN,
      Number.NaN,
    ]);
  });
});
