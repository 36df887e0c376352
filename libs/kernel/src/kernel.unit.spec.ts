import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { closest, fnv1a32, Heap, mix32, SeededRng } from '#libs/kernel';

describe('SeededRng', () => {
  test('the same seed gives the same numbers, another seed others', () => {
    const take = (seed: number): number[] => {
      const rng = new SeededRng(seed);
      return Array.from({ length: 5 }, () => rng.uint32());
    };
    expect(take(7)).toEqual(take(7));
    expect(take(7)).not.toEqual(take(8));
  });

  test('next is uniform enough: the mean of 100,000 lies within 1 % of a half', () => {
    const rng = new SeededRng(1);
    let sum = 0;
    for (let i = 0; i < 100_000; i++) sum += rng.next();
    expect(Math.abs(sum / 100_000 - 0.5)).toBeLessThan(0.005);
  });
});

test('Heap gives items back in order', () => {
  fc.assert(
    fc.property(fc.array(fc.integer()), (values) => {
      const heap = new Heap<number>((a, b) => a < b);
      for (const value of values) heap.push(value);
      const out: number[] = [];
      while (heap.size > 0) out.push(heap.pop() as number);
      expect(out).toEqual([...values].sort((a, b) => a - b));
    }),
  );
});

test('hashes are stable 32-bit unsigned numbers', () => {
  expect(fnv1a32('lintel')).toBe(fnv1a32('lintel'));
  expect(fnv1a32('')).toBe(0x811c9dc5);
  expect(mix32(1)).not.toBe(mix32(2));
  fc.assert(fc.property(fc.string(), (text) => Number.isInteger(fnv1a32(text)) && fnv1a32(text) < 2 ** 32));
});

test('closest finds what was meant and stays silent where nothing is near', () => {
  const options = ['least-request', 'prefix-cache', 'random'];
  expect(closest('least-requst', options)).toBe('least-request');
  expect(closest('prefixcache', options)).toBe('prefix-cache');
  expect(closest('ranodm', options)).toBe('random');
  expect(closest('banana', options)).toBeUndefined();
});
