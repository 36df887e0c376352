import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { outlierLimits } from './limits.ts';
import type { ObservedReplica } from './outliers.ts';
import { ejectMs, FailureWindow, findOutliers } from './outliers.ts';

const one = (id: string, requests: number, failures: number, more: Partial<ObservedReplica> = {}): ObservedReplica => ({
  id,
  requests,
  failures,
  ejected: false,
  out: false,
  models: ['m'],
  ...more,
});
const found = (...replicas: ObservedReplica[]): string[] => findOutliers(replicas).map(({ replicaId }) => replicaId);

describe('who stands out by failures', () => {
  test('the one that fails while the others do not, with its evidence', () => {
    expect(findOutliers([one('a', 100, 40), one('b', 100, 1), one('c', 100, 0)])).toEqual([
      {
        replicaId: 'a',
        requests: 100,
        failures: 40,
        othersRequests: 200,
        othersFailures: 1,
        reason: '40 of 100 requests failed in 30 s, 1 of 200 elsewhere',
      },
    ]);
  });

  test.each([
    ['too few requests to say', [one('a', outlierLimits.requestsMin - 1, 19), one('b', 100, 0)]],
    ['too few elsewhere to compare with', [one('a', 100, 90), one('b', 5, 0)]],
    ['all fail alike', [one('a', 100, 60), one('b', 100, 50), one('c', 100, 55)]],
    ['a small share', [one('a', 100, 10), one('b', 100, 0)]],
    ['the only replica', [one('a', 100, 100)]],
    ['the only one of its model', [one('a', 100, 100, { models: ['x'] }), one('b', 100, 0), one('c', 100, 0)]],
    [
      'half are out already',
      [one('a', 100, 90), one('b', 100, 0), one('c', 0, 0, { ejected: true }), one('d', 0, 0, { ejected: true })],
    ],
    ['the rest is drained', [one('a', 100, 90), one('b', 100, 0, { out: true }), one('c', 100, 0, { out: true })]],
  ])('nobody: %s', (_, replicas) => {
    expect(found(...replicas)).toEqual([]);
  });

  test('the worst first where there is room for one', () => {
    expect(found(one('a', 100, 50), one('b', 100, 90), one('c', 900, 0))).toEqual(['b']);
  });

  test('L29 never more than the share of the replicas of any model', () => {
    const replica = fc.record({
      requests: fc.nat(200),
      failed: fc.double({ min: 0, max: 1, noNaN: true }),
      ejected: fc.boolean(),
      out: fc.boolean(),
      models: fc.subarray(['m', 'n', 'o'], { minLength: 1 }),
    });
    fc.assert(
      fc.property(fc.array(replica, { maxLength: 12 }), (given) => {
        const replicas = given.map(({ failed, requests, ...rest }, index) => ({
          ...rest,
          id: `r${index}`,
          requests,
          failures: Math.floor(requests * failed),
        }));
        const ejectedNow = new Set(found(...replicas));
        for (const model of ['m', 'n', 'o']) {
          const serving = replicas.filter(({ models, out }) => models.includes(model) && !out);
          const before = serving.filter(({ ejected }) => ejected).length;
          const after = before + serving.filter(({ id }) => ejectedNow.has(id)).length;
          expect(after).toBeLessThanOrEqual(
            Math.max(before, Math.floor(serving.length * outlierLimits.ejectedShareMax)),
          );
        }
      }),
    );
  });

  test('each time in a row for longer, up to a bound', () => {
    expect([0, 1, 2, 3, 4, 20].map(ejectMs)).toEqual([30_000, 60_000, 120_000, 240_000, 300_000, 300_000]);
  });
});

describe('the window of failures', () => {
  test('forgets what is older than it', () => {
    const window = new FailureWindow();
    window.count(true, 0);
    window.count(false, 5_000);
    expect(window.totals(20_000)).toEqual({ requests: 2, failures: 1 });
    expect(window.totals(31_000)).toEqual({ requests: 1, failures: 0 });
    expect(window.totals(1_000_000)).toEqual({ requests: 0, failures: 0 });
  });

  test('counts what a list would count', () => {
    const { windowMs, buckets } = outlierLimits;
    const bucketMs = windowMs / buckets;
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(20_000), fc.boolean()), { maxLength: 50 }), (steps) => {
        const window = new FailureWindow();
        const list: { bucket: number; failed: boolean }[] = [];
        let nowMs = 0;
        for (const [waitMs, failed] of steps) {
          nowMs += waitMs;
          window.count(failed, nowMs);
          list.push({ bucket: Math.floor(nowMs / bucketMs), failed });
        }
        const kept = list.filter(({ bucket }) => bucket > Math.floor(nowMs / bucketMs) - buckets);
        expect(window.totals(nowMs)).toEqual({
          requests: kept.length,
          failures: kept.filter(({ failed }) => failed).length,
        });
      }),
    );
  });
});
