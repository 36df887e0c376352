import { expect, test } from '@jest/globals';
import type { NoisyReport } from './index.ts';
import { noisyNeighbour } from './index.ts';

const run = (flowControl: boolean, times: number, durationMs: number): NoisyReport =>
  noisyNeighbour({ replicas: 8, slots: 32, seed: 1, flowControl, times, durationMs });

/** Mean over the tenants that keep below their shares. */
function quietP99(report: NoisyReport): number {
  const quiet = [...report].flatMap(([id, { ttftMs }]) => (id === 'noisy' ? [] : [ttftMs.p99]));
  return quiet.reduce((sum, value) => sum + value, 0) / quiet.length;
}

test('beside a tenant at ten times its share the p99 TTFT of the others rises by at most 10 %, and many times over without flow control', () => {
  const alone = run(true, 0, 50_000);
  const beside = run(true, 10, 50_000);
  expect(quietP99(beside) / quietP99(alone)).toBeLessThanOrEqual(1.1);
  for (const [id, { refused }] of beside) expect([id, refused > 0]).toEqual([id, id === 'noisy']);
  // What the others leave goes to the noisy one: nothing is kept for nobody, but for the reserve.
  const tokens = [...beside.values()].reduce((sum, { tokensPerS }) => sum + tokensPerS, 0);
  expect(tokens).toBeGreaterThan(9_500);
  // Without flow control three times are enough to make all wait alike.
  expect(quietP99(run(false, 3, 40_000)) / quietP99(alone)).toBeGreaterThan(10);
});
