import { expect, test } from '@jest/globals';
import { score } from '../../plugin.fixture.ts';
import { tokenLoad } from './token-load.scorer.ts';

test('one long prompt is more than many short ones', () => {
  const rows = [
    { inflightTokens: 9_000, inflight: 1 },
    { inflightTokens: 1_000, inflight: 5 },
    { inflightTokens: 5_000, inflight: 3 },
  ];
  expect(score(tokenLoad, { rows })).toEqual({ scores: [0, 1, 0.5], notes: [] });
});

test('L14 one count unknown: all go by requests', () => {
  const rows = [{ inflightTokens: 0, inflight: 4 }, { inflight: 0 }];
  expect(score(tokenLoad, { rows })).toEqual({ scores: [0, 1], notes: ['unknown:inflightTokens'] });
});
