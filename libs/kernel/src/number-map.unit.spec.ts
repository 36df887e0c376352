import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { NumberMap } from './number-map.ts';

const twoTo32 = 2 ** 32;
// Few distinct ones, many of which share their low 32 bits and so their home.
const key = fc.oneof(
  fc.nat(40),
  fc.tuple(fc.nat(6), fc.nat(5)).map(([high, low]) => high * twoTo32 + low),
);
const step = fc.oneof(
  fc.record({ what: fc.constant('set' as const), key, value: fc.nat(1000) }),
  fc.record({ what: fc.constant('delete' as const), key, value: fc.constant(0) }),
);

describe('a map of numbers', () => {
  test('says what a Map says, whatever is set and deleted', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
        const made = new NumberMap();
        const model = new Map<number, number>();
        for (const { what, key: at, value } of steps) {
          if (what === 'set') {
            made.set(at, value);
            model.set(at, value);
          } else expect(made.delete(at)).toBe(model.delete(at));
          expect(made.get(at)).toBe(model.get(at) ?? -1);
          expect(made.size).toBe(model.size);
        }
        const seen = new Map<number, number>();
        made.forEach((at, value) => seen.set(at, value));
        expect(seen).toEqual(model);
        for (const [at, value] of model) expect(made.get(at)).toBe(value);
      }),
    );
  });

  test('grows past what was expected, and is empty after clear', () => {
    const made = new NumberMap(2);
    for (let at = 0; at < 1000; at++) made.set(at * twoTo32 + 7, at);
    expect([made.size, made.get(999 * twoTo32 + 7), made.get(7)]).toEqual([1000, 999, 0]);
    made.clear();
    expect([made.size, made.get(7)]).toEqual([0, -1]);
  });

  test('holds the largest key', () => {
    const made = new NumberMap();
    made.set(Number.MAX_SAFE_INTEGER, 5);
    expect([made.get(Number.MAX_SAFE_INTEGER), made.get(0)]).toEqual([5, -1]);
  });
});
