import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ResponseHolders } from './response-holders.ts';

const holder = (tenantId: string, replicaId = 'r1') => ({ replicaId, model: 'm', tenantId });

describe('who holds which response', () => {
  test('is bounded, keeps the latest half at least, and what is used', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 40 }), fc.array(fc.nat(100), { maxLength: 300 }), (max, ids) => {
        const holders = new ResponseHolders(max);
        holders.remember('used', holder('t'));
        for (const [index, id] of ids.entries()) {
          holders.remember(`id${id}`, holder('t', `r${id}`));
          // Used now and then: it never grows old.
          expect(holders.find('used')).toBeDefined();
          expect(holders.size).toBeLessThanOrEqual(2 * Math.max(1, Math.floor(max / 2)));
          const latest = ids.slice(Math.max(0, index + 1 - (Math.floor(max / 2) - 1)), index + 1);
          for (const each of latest) expect(holders.find(`id${each}`)?.replicaId).toBe(`r${each}`);
        }
      }),
      { numRuns: 200 },
    );
  });

  test('is not changed by another tenant, and keeps no id that could not be asked for', () => {
    const holders = new ResponseHolders(10);
    holders.remember('resp_1', holder('acme'));
    holders.remember('resp_1', holder('bolt', 'r2'));
    expect(holders.find('resp_1')).toEqual(holder('acme'));
    holders.remember('x'.repeat(257), holder('acme'));
    holders.remember('a/b', holder('acme'));
    expect(holders.size).toBe(1);
  });
});
