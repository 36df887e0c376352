import { describe, expect, test } from '@jest/globals';
import { create } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { tenancy } from '#libs/contracts';
import { errorCode } from '#libs/kernel';
import { spec } from '#libs/testkit';
import { limitApplies, problemOf, quotaAggregateId, quotaKey, windowsMs } from './limits.ts';
import type { LeaseQuota, LeaseSlots, QuotaCommand, QuotaEvent, QuotaState } from './quota.decider.ts';
import { leasedOf, quota, quotaLimits } from './quota.decider.ts';

const known = { tenantId: 't', limitId: 'rpm', amount: 100, limitsSeq: 5 };
const lease = (holder: string, more: Partial<LeaseQuota> = {}): LeaseQuota => ({
  type: 'LeaseQuota',
  leaseId: `${holder}:1`,
  holder,
  windowStartMs: 60_000,
  units: 10,
  unitsMin: 1,
  ...known,
  ...more,
});
const leased = (holder: string, units: number, total: number, more: Record<string, unknown> = {}): QuotaEvent => ({
  type: 'QuotaLeased',
  data: { leaseId: `${holder}:1`, holder, windowStartMs: 60_000, units, ...known, leased: total, ...more },
});
const giveBack = (holder: string, units: number): QuotaCommand => ({
  type: 'ReturnQuota',
  leaseId: 'r',
  holder,
  windowStartMs: 60_000,
  units,
});
const slots = (holder: string, windowStartMs: number, wanted: number, more: Partial<LeaseSlots> = {}): LeaseSlots => ({
  type: 'LeaseSlots',
  holder,
  windowStartMs,
  windowMs: 15,
  slots: wanted,
  slotsMin: 0,
  ...known,
  amount: 10,
  ...more,
});
const slotsLeased = (holder: string, windowStartMs: number, count: number): QuotaEvent => ({
  type: 'SlotsLeased',
  data: { holder, windowStartMs, slots: count, ...known, amount: 10 },
});

describe('quota leases', () => {
  spec(quota)
    .given()
    .when(lease('a'))
    .then(leased('a', 10, 10))
    // A quarter of what is left at most, unless more is needed now.
    .given(leased('a', 80, 80))
    .when(lease('b'))
    .then(leased('b', 5, 85))
    .given(leased('a', 80, 80))
    .when(lease('b', { units: 15, unitsMin: 15 }))
    .then(leased('b', 15, 95))
    .given(leased('a', 95, 95))
    .when(lease('b', { unitsMin: 6 }))
    .thenRefuses('TENANCY_QUOTA_EXHAUSTED')
    .given(leased('a', 100, 100))
    .when(lease('b'))
    .thenRefuses('TENANCY_QUOTA_EXHAUSTED')
    // Each window is its own.
    .given(leased('a', 100, 100))
    .when(lease('a', { windowStartMs: 120_000 }))
    .then(leased('a', 10, 10, { windowStartMs: 120_000 }))
    // What came back is there for others.
    .given(leased('a', 100, 100), { type: 'QuotaReturned', data: { holder: 'a', windowStartMs: 60_000, units: 40 } })
    .when(lease('b'))
    .then(leased('b', 10, 70))
    .given(leased('a', 10, 10))
    .when(giveBack('a', 11))
    .thenRefuses('TENANCY_QUOTA_NOT_HELD')
    .given(leased('a', 10, 10))
    .when(giveBack('b', 1))
    .thenRefuses('TENANCY_QUOTA_NOT_HELD')
    // A gateway that has not seen the newest limit yet leases under it all the same.
    .given(leased('a', 10, 10, { amount: 12, limitsSeq: 9 }))
    .when(lease('b', { unitsMin: 3 }))
    .thenRefuses('TENANCY_QUOTA_EXHAUSTED')
    .given(leased('a', 10, 10))
    .when(lease('b', { amount: 9, limitsSeq: 6 }))
    .thenRefuses('TENANCY_QUOTA_EXHAUSTED')
    .given(leased('a', 100, 100))
    .when(lease('b', { units: 0, unitsMin: 0 }))
    .then(leased('b', 0, 100));

  test('a window that was forgotten stays closed', () => {
    let state = quota.initial;
    const at = (index: number): LeaseQuota => lease('a', { windowStartMs: index * 60_000, leaseId: String(index) });
    for (let index = 1; index <= quotaLimits.windowsMax + 2; index++) {
      for (const event of quota.decide(state, at(index))) state = quota.evolve(state, event);
    }
    expect(state.windows.size).toBe(quotaLimits.windowsMax);
    expect(() => quota.decide(state, at(2))).toThrow(
      expect.objectContaining({ code: 'TENANCY_QUOTA_WINDOW_CLOSED' }) as unknown as Error,
    );
    expect(quota.decide(state, at(3))).toHaveLength(1);
  });
});

describe('slots', () => {
  spec(quota)
    .given()
    .when(slots('a', 15, 2))
    .then(slotsLeased('a', 15, 2))
    .given(slotsLeased('a', 15, 2))
    .when(slots('a', 15, 2))
    .thenNothing()
    // What another has goes on into the next window, whatever it takes there.
    .given(slotsLeased('a', 15, 8))
    .when(slots('b', 30, 5, { slotsMin: 3 }))
    .thenRefuses('TENANCY_QUOTA_EXHAUSTED')
    .given(slotsLeased('a', 15, 8), slotsLeased('a', 30, 1))
    .when(slots('b', 30, 5, { slotsMin: 3 }))
    .thenRefuses('TENANCY_QUOTA_EXHAUSTED')
    .given(slotsLeased('a', 15, 8), slotsLeased('a', 30, 1))
    .when(slots('b', 45, 5, { slotsMin: 5 }))
    .then(slotsLeased('b', 45, 5))
    .given(slotsLeased('a', 15, 8))
    .when(slots('a', 15, 2))
    .thenNothing()
    // A dead one's come back with the second window.
    .given(slotsLeased('a', 15, 8))
    .when(slots('b', 45, 5, { slotsMin: 5 }))
    .then(slotsLeased('b', 45, 5))
    // Taken ahead by another counts already now: requests outlast their window.
    .given(slotsLeased('b', 30, 8))
    .when(slots('a', 15, 5, { slotsMin: 3 }))
    .thenRefuses('TENANCY_QUOTA_EXHAUSTED');
});

/** Decides and folds, as the log would; a refusal changes nothing. */
function given(state: QuotaState, command: QuotaCommand): QuotaState {
  try {
    return quota.decide(state, command).reduce((folded, event) => quota.evolve(folded, event), state);
  } catch (thrown) {
    if (!errorCode(thrown).startsWith('TENANCY_QUOTA_')) throw thrown;
    return state;
  }
}

const holders = fc.constantFrom('a', 'b', 'c');

test('L40 whatever is asked and given back, the leases of a window never come to more than the limit', () => {
  const command = fc.oneof(
    fc.record({ holder: holders, window: fc.nat(4), units: fc.nat(150), unitsMin: fc.nat(60) }),
    fc.record({ holder: holders, window: fc.nat(4), back: fc.nat(60) }),
  );
  fc.assert(
    fc.property(fc.array(command, { maxLength: 60 }), (commands) => {
      let state = quota.initial;
      for (const one of commands) {
        const windowStartMs = one.window * 60_000;
        state =
          'back' in one
            ? given(state, { type: 'ReturnQuota', leaseId: 'r', holder: one.holder, windowStartMs, units: one.back })
            : given(state, lease(one.holder, { windowStartMs, units: one.units, unitsMin: one.unitsMin }));
        for (const start of state.windows.keys()) expect(leasedOf(state, start)).toBeLessThanOrEqual(100);
      }
    }),
  );
});

test('L40 slots held at any time, and those that go on from the window before, never come to more than the limit', () => {
  const command = fc.record({
    holder: holders,
    ahead: fc.nat(1),
    slots: fc.nat(14),
    slotsMin: fc.nat(4),
    pass: fc.nat(1),
  });
  fc.assert(
    fc.property(fc.array(command, { maxLength: 60 }), (commands) => {
      let state = quota.initial;
      let now = 1;
      for (const one of commands) {
        now += one.pass;
        const { slots: wanted, slotsMin } = one;
        state = given(state, slots(one.holder, (now + one.ahead) * 15, wanted, { slotsMin }));
        let held = 0;
        for (const holder of ['a', 'b', 'c']) {
          const at = (window: number): number | undefined => state.windows.get(window * 15)?.get(holder);
          held += Math.max(at(now) ?? 0, at(now - 1) ?? 0);
        }
        expect(held).toBeLessThanOrEqual(10);
      }
    }),
  );
});

describe('limits', () => {
  const limit = (more: object = {}): tenancy.Limit =>
    create(tenancy.LimitSchema, {
      limitId: 'l',
      metric: tenancy.LimitMetric.REQUESTS,
      windowMs: windowsMs.minute,
      amount: 5,
      ...more,
    });
  const scope = { tenantId: 't', projectId: '', keyId: 'k', endUser: 'u', model: 'm' };

  test('say what is wrong with them', () => {
    expect(problemOf(limit())).toBeUndefined();
    expect(problemOf(limit({ windowMs: 7 }))).toContain('window');
    expect(problemOf(limit({ amount: 1.5 }))).toContain('amount');
    expect(problemOf(limit({ metric: 0 }))).toContain('counts');
    expect(problemOf(limit({ limitId: '' }))).toContain('id');
    expect(problemOf(limit({ metric: tenancy.LimitMetric.CONCURRENT, windowMs: 0 }))).toBeUndefined();
  });

  test('apply to their key, models and users', () => {
    expect(limitApplies(limit(), scope)).toBe(true);
    expect(limitApplies(limit({ keyId: 'other' }), scope)).toBe(false);
    expect(limitApplies(limit({ models: ['other'] }), scope)).toBe(false);
    expect(limitApplies(limit({ perUser: true }), { ...scope, endUser: '' })).toBe(false);
  });

  test('L19 count each key, user and model apart where they say so, under names that no text of a client gets into', () => {
    const other = { ...scope, keyId: 'k2', endUser: '../ü*>', model: 'm2' };
    expect(quotaKey(limit(), other)).toBe(quotaKey(limit(), scope));
    for (const per of ['perKey', 'perUser', 'perModel']) {
      expect(quotaKey(limit({ [per]: true }), other)).not.toBe(quotaKey(limit({ [per]: true }), scope));
    }
    expect(quotaAggregateId(quotaKey(limit({ perUser: true }), other), windowsMs.minute, 1.8e12)).toMatch(
      /^[A-Za-z0-9_-]{1,64}$/,
    );
  });
});
