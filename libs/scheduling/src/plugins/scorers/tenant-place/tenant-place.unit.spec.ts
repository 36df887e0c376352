import { expect, test } from '@jest/globals';
import { score } from '../../plugin.fixture.ts';
import { tenantPlace } from './tenant-place.scorer.ts';

const at = (tenantLevel: number): { tenantLevel: number }[] => Array.from({ length: 5 }, () => ({ tenantLevel }));

test('a light tenant goes to the front, a heavy one to the back, others between', () => {
  expect(score(tenantPlace, { rows: at(0) }).scores).toEqual([1, 0.75, 0.5, 0.25, 0]);
  expect(score(tenantPlace, { rows: at(1) }).scores).toEqual([0, 0.25, 0.5, 0.75, 1]);
  expect(score(tenantPlace, { rows: at(0.5) }).scores).toEqual([0.5, 0.75, 1, 0.75, 0.5]);
});

test('one candidate alone', () => expect(score(tenantPlace, { rows: [{ tenantLevel: 0 }] }).scores).toEqual([1]));

test('without a tenant all go by load', () => {
  expect(score(tenantPlace, { rows: [{ inflight: 3 }, { inflight: 1 }] })).toEqual({
    scores: [0, 1],
    notes: ['no-tenant'],
  });
});
