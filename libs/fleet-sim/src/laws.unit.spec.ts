import { describe, expect, test } from '@jest/globals';
import { LawBook } from './laws.ts';

const book =
  (...steps: readonly ((laws: LawBook) => void)[]) =>
  (): void => {
    const laws = new LawBook(3, 2);
    for (const step of steps) step(laws);
  };
const arrive = (laws: LawBook): void => laws.arrive(0);
const dispatch = (laws: LawBook): void => laws.dispatch(0, 1);
const first = (laws: LawBook): void => laws.firstToken(0, 1);
const finish = (laws: LawBook): void => laws.finish(0, 1);

describe('L33 each request goes its way once, on one replica', () => {
  test('a whole way is none of its business', () => {
    expect(book(arrive, dispatch, first, (laws) => laws.inflight(1, 1, 1), finish)).not.toThrow();
    expect(book(arrive, (laws) => laws.refuse(0))).not.toThrow();
  });

  test.each<[string, readonly ((laws: LawBook) => void)[]]>([
    ['arrives twice', [arrive, arrive]],
    ['is dispatched before it is there', [dispatch]],
    ['is sent to two replicas', [arrive, dispatch, (laws) => laws.dispatch(0, 0)]],
    ['answers twice', [arrive, dispatch, first, first]],
    ['ends twice', [arrive, dispatch, first, finish, finish]],
    ['ends without a token', [arrive, dispatch, finish]],
    ['is answered by a replica that it was not sent to', [arrive, dispatch, (laws) => laws.firstToken(0, 0)]],
    ['ends elsewhere', [arrive, dispatch, first, (laws) => laws.finish(0, 0)]],
    ['is served and refused', [arrive, dispatch, (laws) => laws.refuse(0)]],
    ['is counted by a gateway and not inside', [arrive, dispatch, (laws) => laws.inflight(1, 1, 0)]],
    ['is inside and not counted', [arrive, dispatch, (laws) => laws.inflight(1, 0, 1)]],
    ['is left behind', [arrive, dispatch, (laws) => laws.end(1)]],
    ['never came', [(laws) => laws.end(1)]],
  ])('one that %s is found', (_, steps) => {
    expect(book(...steps)).toThrow(/^L33: /);
  });
});

describe('L34 time goes forward', () => {
  test('an event before the last one, or at no time, is found; at the same time is fine', () => {
    const at = (...times: number[]) => book(...times.map((ms) => (laws: LawBook) => laws.time(ms)));
    expect(at(0, 5, 5, 6)).not.toThrow();
    expect(at(5, 4.999)).toThrow(/^L34: /);
    expect(at(Number.NaN)).toThrow(/^L34: /);
  });

  test('a signal from the future is found; one of unknown age is none', () => {
    expect(book((laws) => laws.age('kvUse', -1))).toThrow(/^L34: /);
    expect(
      book(
        (laws) => laws.age('kvUse', 0),
        (laws) => laws.age('kvUse', Number.NaN),
      ),
    ).not.toThrow();
  });
});
