import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { DecayedCounts } from './decayed-counts.ts';
import { HotPrefixes } from './hot-prefixes.ts';
import { warmingLimits } from './limits.ts';

const run = (first: number, length: number): number[] => Array.from({ length }, (_, at) => first + at);
const limits = { ...warmingLimits, stepTokens: 4, asksMin: 3, halfLifeMs: 1_000 };
const base = { model: 'm', adapter: '', cacheSalt: '' };

describe('DecayedCounts', () => {
  test('claims of no key more than there was, and of a frequent one little less', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(30), { minLength: 1, maxLength: 400 }),
        fc.integer({ min: 4, max: 16 }),
        (keys, room) => {
          const counts = new DecayedCounts(room, 1_000);
          const truth = new Map<number, number>();
          for (const [at, key] of keys.entries()) {
            counts.add(key, at);
            truth.set(key, (truth.get(key) ?? 0) + 2 ** (at / 1_000));
          }
          const nowMs = keys.length;
          let all = 0;
          for (const weight of truth.values()) all += weight;
          for (const [key, weight] of truth) {
            const now = 2 ** (nowMs / 1_000);
            expect(counts.sure(key, nowMs)).toBeLessThanOrEqual(weight / now + 1e-9);
            // Space-saving: whoever has more than its share of all has a place.
            if (weight > all / room) expect(counts.has(key)).toBe(true);
          }
          expect(counts.size).toBe(Math.min(room, truth.size));
        },
      ),
    );
  });

  test('halves in a half-life, however long it goes on', () => {
    const counts = new DecayedCounts(4, 10);
    for (let nowMs = 0; nowMs < 100_000; nowMs += 10) counts.add(1, nowMs);
    expect(counts.sure(1, 99_990)).toBeCloseTo(2, 6);
    expect(counts.sure(1, 100_000)).toBeCloseTo(1, 6);
  });
});

describe('HotPrefixes', () => {
  test('keeps what was asked for often, as deep as it was shared', () => {
    const hot = new HotPrefixes(limits);
    for (let n = 0; n < 5; n++) hot.note(base, 't', [...run(1, 10), ...run(1_000 * (n + 1), 8)], 0);
    hot.note(base, 't', run(5_000, 40), 0);
    const [one, ...rest] = hot.hottest('m', 0);
    expect(rest).toEqual([]);
    expect(one).toMatchObject({ ...base, tenantId: 't', asks: 5 });
    expect([...(one?.tokens ?? [])]).toEqual(run(1, 8));
    expect(hot.hottest('other', 0)).toEqual([]);
  });

  test('a longer one takes the place of its beginning, and a branch stands beside it', () => {
    const hot = new HotPrefixes(limits);
    const stem = run(1, 8);
    for (let n = 0; n < 4; n++) hot.note(base, 't', [...stem, ...run(100, 4), n], 0);
    for (let n = 0; n < 4; n++) hot.note(base, 't', [...stem, ...run(200, 4), n], 0);
    expect(hot.hottest('m', 0).map(({ tokens }) => tokens[8])).toEqual([100, 200]);
    expect(hot.keptTokens).toBe(24);
    // Half-lives later only the stem is asked for: both are cut to it, and are one.
    for (let n = 0; n < 6; n++) hot.note(base, 't', [...stem, ...run(900 + n * 10, 4)], 4_000);
    expect(hot.hottest('m', 4_000).map(({ tokens }) => [...tokens])).toEqual([stem]);
    expect(hot.hottest('m', 60_000)).toEqual([]);
  });

  test('adapters and salts are others', () => {
    const hot = new HotPrefixes(limits);
    for (const identity of [base, { ...base, adapter: 'l0' }, { ...base, cacheSalt: 's' }]) {
      for (let n = 0; n < 2; n++) hot.note(identity, 't', run(1, 8), 0);
    }
    expect(hot.size).toBe(0);
    hot.note({ ...base, cacheSalt: 's' }, 't', run(1, 8), 0);
    expect(hot.hottest('m', 0)).toMatchObject([{ cacheSalt: 's', adapter: '' }]);
  });

  test('stays within its bounds: those that spare least go first', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ topic: fc.nat(12), length: fc.integer({ min: 1, max: 60 }) }), { maxLength: 200 }),
        (asked) => {
          const small = { ...limits, prefixesMax: 3, keptTokensMax: 40, prefixTokensMax: 32, countedMax: 64 };
          const hot = new HotPrefixes(small);
          for (const [at, { topic, length }] of asked.entries()) hot.note(base, 't', run(topic * 100, length), at);
          expect(hot.size).toBeLessThanOrEqual(3);
          expect(hot.keptTokens).toBeLessThanOrEqual(40);
          for (const { tokens, asks } of hot.hottest('m', asked.length)) {
            const topic = (tokens[0] as number) / 100;
            const really = asked.filter((one) => one.topic === topic && one.length >= tokens.length).length;
            expect(asks).toBeGreaterThanOrEqual(limits.asksMin);
            expect(asks).toBeLessThanOrEqual(really + 1e-9);
            expect([...tokens]).toEqual(run(topic * 100, tokens.length));
          }
        },
      ),
    );
  });

  test('long tails that never come again do not push out what does', () => {
    const hot = new HotPrefixes({ ...limits, countedMax: 64 });
    for (let n = 0; n < 200; n++) {
      hot.note(base, 't', [...run(1, 16), ...run(10_000 + n * 1_000, 200)], n);
    }
    expect(hot.hottest('m', 200).map(({ tokens }) => tokens.length)).toEqual([16]);
  });

  test('forgets what a tenant allows no more', () => {
    const hot = new HotPrefixes(limits);
    for (let n = 0; n < 3; n++) hot.note(base, 'a', run(1, 8), 0);
    for (let n = 0; n < 3; n++) hot.note(base, 'b', run(50, 8), 0);
    hot.keepOf((tenantId) => tenantId === 'b');
    expect(hot.hottest('m', 0).map(({ tenantId }) => tenantId)).toEqual(['b']);
  });
});
