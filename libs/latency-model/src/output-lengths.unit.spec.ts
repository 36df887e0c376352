import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { latencyModelLimits as limits } from './limits.ts';
import { OutputLengths } from './output-lengths.ts';

const learn = (lengths: OutputLengths, tenant: string, promptTokens: number, ...outputs: number[]): void => {
  for (const output of outputs) lengths.observe(tenant, 'm', promptTokens, output);
};
const times = (count: number, tokens: number): number[] => Array.from({ length: count }, () => tokens);

test('quantiles of what was seen, within an eighth', () => {
  const lengths = new OutputLengths();
  learn(lengths, 't', 100, ...times(50, 20), ...times(40, 200), ...times(10, 2_000));
  for (const [share, tokens] of [
    [0.4, 20],
    [0.8, 200],
    [0.95, 2_000],
  ] as const) {
    expect(Math.abs(lengths.quantile(share, 't', 'm', 100) / tokens - 1)).toBeLessThan(0.125);
  }
});

test('by tenant and length of the prompt; of others only where its own are too few', () => {
  const lengths = new OutputLengths();
  learn(lengths, 'short', 100, ...times(20, 10));
  learn(lengths, 'long', 100, ...times(20, 1_000));
  learn(lengths, 'short', 10_000, ...times(20, 100));
  expect(lengths.quantile(0.5, 'short', 'm', 120)).toBe(11);
  expect(lengths.quantile(0.5, 'long', 'm', 70)).toBeGreaterThan(900);
  expect(lengths.quantile(0.5, 'short', 'm', 9_000)).toBeCloseTo(104, -1);
  expect(lengths.quantile(0.9, 'new', 'm', 100)).toBeGreaterThan(900);
  expect(lengths.quantile(0.5, 'new', 'm', 1_000)).toBeCloseTo(104, -1);
  expect(lengths.quantile(0.5, 'new', 'other model', 100)).toBeNaN();
});

test('nothing is said of too few', () => {
  const lengths = new OutputLengths();
  learn(lengths, 't', 100, ...times(limits.lengthSamplesMin - 1, 10));
  expect(lengths.quantile(0.5, 't', 'm', 100)).toBeNaN();
  learn(lengths, 't', 100, 10);
  expect(lengths.quantile(0.5, 't', 'm', 100)).toBe(11);
});

test('old lengths fade', () => {
  const lengths = new OutputLengths();
  learn(lengths, 't', 100, ...times(5_000, 1_000), ...times(1_000, 10));
  expect(lengths.quantile(0.5, 't', 'm', 100)).toBe(11);
});

test('memory is bounded, and the tenant that was seen last is known', () => {
  const lengths = new OutputLengths();
  const count = limits.lengthHistogramsMax * 2;
  for (let i = 0; i < count; i++) lengths.observe(`tenant ${i}`, 'm', 100, 10);
  learn(lengths, `tenant ${count - 1}`, 100, ...times(limits.lengthSamplesMin, 300));
  expect(lengths.size).toBeLessThanOrEqual(limits.lengthHistogramsMax + limits.lengthSharedMax);
  const models = new OutputLengths();
  for (let i = 0; i < limits.lengthHistogramsMax * 2; i++) models.observe('t', `model ${i}`, 100, 10);
  expect(models.size).toBe(limits.lengthHistogramsMax + limits.lengthSharedMax);
  expect(lengths.quantile(0.5, `tenant ${count - 1}`, 'm', 100)).toBeGreaterThan(200);
});

test('a higher share is never fewer tokens', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 1 << 24 }), { minLength: 8, maxLength: 100 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (outputs, a, b) => {
        const lengths = new OutputLengths();
        learn(lengths, 't', 100, ...outputs);
        const low = lengths.quantile(Math.min(a, b), 't', 'm', 100);
        const high = lengths.quantile(Math.max(a, b), 't', 'm', 100);
        if (outputs.filter((tokens) => tokens >= 1).length < limits.lengthSamplesMin) expect(low).toBeNaN();
        else expect(high).toBeGreaterThanOrEqual(low);
      },
    ),
  );
});
