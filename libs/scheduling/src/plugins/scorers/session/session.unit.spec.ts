import { expect, test } from '@jest/globals';
import { fnv1a32, mix32 } from '#libs/kernel';
import { score } from '../../plugin.fixture.ts';
import { session } from './session.scorer.ts';

const rows = ['a', 'b', 'c', 'd'].map((id) => ({ id, inflight: 1 }));
const homeOf = (sessionHash: number, among = rows): string => {
  const { scores } = score(session, { rows: among, request: { sessionHash } });
  return (among[scores.indexOf(Math.max(...(scores as number[])))] as { id: string }).id;
};

test('the score is the mixed hash of session and replica id', () => {
  const expected = rows.map(({ id }) => mix32(7 ^ mix32(fnv1a32(id))) / 2 ** 32);
  expect(score(session, { rows, request: { sessionHash: 7 } })).toEqual({ scores: expected, notes: [] });
});

test('when a replica leaves only its own sessions move, and they spread', () => {
  const moved = new Set<string>();
  for (let hash = 1; hash <= 400; hash++) {
    const home = homeOf(hash);
    const left = homeOf(
      hash,
      rows.filter(({ id }) => id !== 'b'),
    );
    if (home !== 'b') expect(left).toBe(home);
    else moved.add(left);
  }
  expect([...moved].sort()).toEqual(['a', 'c', 'd']);
});

test('the order of the candidates does not matter', () => {
  for (let hash = 1; hash <= 50; hash++) expect(homeOf(hash, rows.toReversed())).toBe(homeOf(hash));
});

test('relative spreads the scores from 0 to 1 and keeps their order', () => {
  const plain = score(session, { rows, request: { sessionHash: 7 } }).scores as number[];
  const spread = score(session, { rows, request: { sessionHash: 7 }, params: { relative: true } }).scores as number[];
  expect([Math.min(...spread), Math.max(...spread)]).toEqual([0, 1]);
  const order = (scores: number[]): number[] =>
    [...scores.keys()].sort((a, b) => (scores[a] as number) - (scores[b] as number));
  expect(order(spread)).toEqual(order(plain));
});

test('L14 without a session all go by load, and the note says so', () => {
  expect(score(session, { rows: [{ inflight: 2 }, { inflight: 0 }] })).toEqual({
    scores: [0, 1],
    notes: ['no-session'],
  });
  expect(score(session, { rows: [{}, { inflight: 0 }] })).toEqual({
    scores: [1, 1],
    notes: ['no-session', 'unknown:inflight'],
  });
});
