import { describe, expect, test } from '@jest/globals';
import { estimate, pairedDifference } from './index.ts';
import { Outcomes } from './outcomes.ts';
import { latencies, percentiles } from './report.ts';

describe('estimates', () => {
  test('mean and half of the 95 % interval by Student', () => {
    // 1, 2, 3: deviation 1, √3 seeds, t of two degrees of freedom.
    expect(estimate([1, 2, 3]).mean).toBe(2);
    expect(estimate([1, 2, 3]).half).toBeCloseTo(4.303 / Math.sqrt(3), 6);
    expect(estimate([5, 5, 5, 5])).toEqual({ mean: 5, half: 0 });
    expect(estimate([5]).half).toBeNaN();
  });

  test('a difference by pairs is sharper than the noise that both share', () => {
    const noisy = [10, 20, 30, 40];
    expect(
      pairedDifference(
        noisy.map((value) => value + 1),
        noisy,
      ),
    ).toEqual({ mean: 1, half: 0 });
  });
});

describe('what a report says', () => {
  test('percentiles are by nearest rank; of nothing they are not a number', () => {
    expect(percentiles(Float64Array.from({ length: 100 }, (_, at) => 100 - at))).toEqual({ p50: 50, p90: 90, p99: 99 });
    expect(percentiles(Float64Array.of(7))).toEqual({ p50: 7, p90: 7, p99: 7 });
    expect(percentiles(new Float64Array(0)).p50).toBeNaN();
  });

  test('what arrives outside of the window is left out, a refused request is counted and not good, both targets must hold', () => {
    const outcomes = new Outcomes(12);
    // Arrived, first token, finished; 11 output tokens each. One before the window, then good, slow first, slow after, refused, six good, one after it.
    const rows = [
      [0, 9_000, 9_100],
      [1_000, 1_100, 1_200],
      [2_000, 3_500, 3_600],
      [3_000, 3_100, 4_100],
      [4_000, Number.NaN, Number.NaN],
      ...[5, 6, 7, 8, 9, 10, 11].map((s) => [s * 1_000, s * 1_000 + 100, s * 1_000 + 200]),
    ];
    for (const [index, [arrived, first, finished]] of rows.entries()) {
      outcomes.order.push(index);
      outcomes.arrivedMs[index] = arrived as number;
      outcomes.firstTokenMs[index] = first as number;
      outcomes.finishedMs[index] = finished as number;
      outcomes.promptTokens[index] = 100;
      outcomes.outputTokens[index] = 11;
      outcomes.cachedTokens[index] = index === 1 ? 90 : 0;
    }
    const said = latencies(outcomes, { ttftMs: 1_000, tpotMs: 50 }, { fromMs: 1_000, untilMs: 10_000 });
    expect([said.counted, said.goodShare]).toEqual([10, 0.7]);
    expect(said.offeredPerS).toBeCloseTo(10 / 9, 9);
    expect(said.goodPerS).toBeCloseTo(7 / 9, 9);
    expect(said.ttftMs).toEqual({ p50: 100, p90: 1_500, p99: 1_500 });
    expect(said.tpotMs.p99).toBe(100);
    expect(said.hitRate).toBe(0.1);
  });
});
