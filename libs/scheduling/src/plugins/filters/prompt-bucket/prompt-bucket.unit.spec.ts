import { expect, test } from '@jest/globals';
import { filter } from '../../plugin.fixture.ts';
import { promptBucket } from './prompt-bucket.filter.ts';

const rows = [
  { roles: 6, promptTokensMin: 0, promptTokensMax: 1_000 },
  { roles: 6, promptTokensMin: 1_000, promptTokensMax: 8_000 },
  { roles: 1, promptTokensMin: 8_000, promptTokensMax: 16_000 },
];

test.each([
  [999, [0]],
  [1_000, [1]],
  [7_999, [1]],
])('a prompt of %i tokens', (promptTokens, kept) => {
  expect(filter(promptBucket, { rows, request: { promptTokens } })).toEqual({ kept, notes: [] });
});

test('where nobody of that length answers, all stay and the note says so', () => {
  expect(filter(promptBucket, { rows, request: { promptTokens: 9_000 } })).toEqual({
    kept: [0, 1, 2],
    notes: ['no-bucket'],
  });
});

test('L14 unknown bounds bound nothing', () => {
  const unknown = [{}, { promptTokensMin: Number.NaN, promptTokensMax: 10 }];
  expect(filter(promptBucket, { rows: unknown, request: { promptTokens: 10 } })).toEqual({ kept: [0], notes: [] });
});
