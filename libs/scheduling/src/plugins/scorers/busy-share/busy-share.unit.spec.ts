import { expect, test } from '@jest/globals';
import { score } from '../../plugin.fixture.ts';
import { busyShare } from './busy-share.scorer.ts';

test('least busy 1, most 0', () => {
  const rows = [{ busyShare: 0.25 }, { busyShare: 1 }, { busyShare: 0.5 }];
  expect(score(busyShare, { rows })).toEqual({ scores: [1, 0, 2 / 3], notes: [] });
});

test('L14 one share unknown: all go by load', () => {
  const rows = [{ busyShare: 1, inflight: 0 }, { inflight: 4 }];
  expect(score(busyShare, { rows })).toEqual({ scores: [1, 0], notes: ['unknown:busyShare'] });
});
