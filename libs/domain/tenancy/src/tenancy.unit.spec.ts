import { describe, expect, test } from '@jest/globals';
import { create } from '@bufbuild/protobuf';
import { EventRegistry, tenancy } from '#libs/contracts';
import type { DecodedCommit } from '#libs/event-log';
import { decodeCommit, prepareCommit } from '#libs/event-log';
import { SeededRng } from '#libs/kernel';
import { spec } from '#libs/testkit';
import { hashApiKey, newApiKey } from './api-key.ts';
import { windowsMs } from './limits.ts';
import type { DesiredTenant } from './plan-tenants.ts';
import { planTenants } from './plan-tenants.ts';
import {
  emptyTenancyState,
  evolveTenancy,
  findKey,
  keyAllows,
  tenancyStateFromJson,
  tenancyStateToJson,
} from './state.ts';
import type { LimitInit, TenantCommand, TenantEvent } from './tenant.decider.ts';
import { tenant } from './tenant.decider.ts';

const hash = hashApiKey('lk-secret');
const registered: TenantEvent = {
  type: 'TenantRegistered',
  data: { tenantId: 't', displayName: 'T', source: 'apply' },
};
const register: TenantCommand = { type: 'RegisterTenant', tenantId: 't', displayName: 'T', source: 'apply' };
const issue = (keyHash = hash): TenantCommand => ({ type: 'IssueKey', tenantId: 't', keyId: 'k', keyHash });
const issued: TenantEvent = { type: 'KeyIssued', data: { tenantId: 't', keyId: 'k', keyHash: hash } };
const revoke: TenantCommand = { type: 'RevokeKey', tenantId: 't', keyId: 'k', reason: 'leaked' };
const revoked: TenantEvent = { type: 'KeyRevoked', data: { tenantId: 't', keyId: 'k', reason: 'leaked' } };

describe('tenant', () => {
  spec(tenant)
    .given()
    .when(register)
    .then(registered)
    .given(registered)
    .when(register)
    .thenNothing()
    .given(registered)
    .when({ ...register, warm: true })
    .then({ type: 'TenantRegistered', data: { tenantId: 't', displayName: 'T', source: 'apply', warm: true } })
    .given({ type: 'TenantRegistered', data: { tenantId: 't', displayName: 'T', source: 'apply', warm: true } })
    .when(register)
    .thenNothing()
    .given()
    .when(issue())
    .thenRefuses('TENANCY_TENANT_NOT_FOUND')
    .given(registered)
    .when(issue())
    .then(issued)
    .given(registered, issued)
    .when(issue())
    .thenNothing()
    .given(registered, issued)
    .when(issue(hashApiKey('other')))
    .thenRefuses('TENANCY_KEY_ID_TAKEN')
    .given(registered)
    .when(issue('lk-secret'))
    .thenRefuses('TENANCY_KEY_HASH_INVALID')
    .given(registered)
    .when(revoke)
    .thenRefuses('TENANCY_KEY_NOT_FOUND')
    .given(registered, issued)
    .when(revoke)
    .then(revoked)
    .given(registered, issued, revoked)
    .when(revoke)
    .thenNothing()
    .given(registered, issued)
    .when({ type: 'RemoveTenant', tenantId: 't', reason: 'gone' })
    .thenState((state) => expect(state.keys.size).toBe(0))
    .given()
    .when({ type: 'RemoveTenant', tenantId: 't', reason: 'gone' })
    .thenNothing();
});

const limit = {
  limitId: 'rpm',
  metric: tenancy.LimitMetric.REQUESTS,
  windowMs: windowsMs.minute,
  amount: 5,
};
const limitsSet: TenantEvent = {
  type: 'LimitsSet',
  data: { tenantId: 't', limits: [create(tenancy.LimitSchema, limit)] },
};
const setLimits = (...limits: LimitInit[]): TenantCommand => ({ type: 'SetLimits', tenantId: 't', limits });

describe('limits', () => {
  spec(tenant)
    .given(registered)
    .when(setLimits(limit))
    .then(limitsSet)
    .given(registered, limitsSet)
    .when(setLimits(limit))
    .thenNothing()
    .given(registered, limitsSet)
    .when(setLimits())
    .then({ type: 'LimitsSet', data: { tenantId: 't', limits: [] } })
    .given()
    .when(setLimits(limit))
    .thenRefuses('TENANCY_TENANT_NOT_FOUND')
    .given(registered)
    .when(setLimits(limit, limit))
    .thenRefuses('TENANCY_LIMIT_INVALID')
    .given(registered)
    .when(setLimits({ ...limit, amount: -1 }))
    .thenRefuses('TENANCY_LIMIT_INVALID');
});

const registry = new EventRegistry();

function commitOf(id: string, version: number, ...events: readonly TenantEvent[]): DecodedCommit {
  const subject = { context: 'tenancy', aggregate: 'tenant', id };
  const head = { version: version - 1, hash: '' };
  const context = { atMs: 1, actor: 'test' };
  const prepared = prepareCommit({ registry, subject, commitId: `${id}-${version}`, head, events, context });
  return decodeCommit({ ...prepared, seq: version, storedAtMs: 1 }, registry);
}

describe('findKey', () => {
  const key = (more = {}): TenantEvent => ({
    type: 'KeyIssued',
    data: { tenantId: 't', keyId: 'k', keyHash: hash, ...more },
  });

  test('knows good, revoked, expired and never issued keys', () => {
    const state = evolveTenancy(emptyTenancyState(), commitOf('t', 1, registered, key({ expiresAtMs: 1000 })));
    expect(findKey(state, hash, 999)?.status).toBe('good');
    expect(findKey(state, hash, 1000)?.status).toBe('expired');
    expect(findKey(state, hashApiKey('other'), 0)).toBeUndefined();
    evolveTenancy(state, commitOf('t', 2, revoked));
    expect(findKey(state, hash, 999)?.status).toBe('revoked');
    evolveTenancy(state, commitOf('t', 3, { type: 'TenantRemoved', data: { tenantId: 't', reason: 'x' } }));
    expect(findKey(state, hash, 0)).toBeUndefined();
    expect(state.keysByHash.size).toBe(0);
    expect(state.limits.size).toBe(0);
  });

  test('of two tenants with one key the one whose key is good is found', () => {
    const state = evolveTenancy(emptyTenancyState(), commitOf('t', 1, registered, key()));
    const other = { tenantId: 'u', displayName: 'U', source: 'apply' };
    evolveTenancy(state, commitOf('u', 1, { type: 'TenantRegistered', data: other }, key({ tenantId: 'u' })));
    expect(findKey(state, hash, 0)?.key.tenantId).toBe('t');
    evolveTenancy(state, commitOf('t', 2, revoked));
    expect(findKey(state, hash, 0)?.key.tenantId).toBe('u');
  });

  test('a key may be bound to models', () => {
    const state = evolveTenancy(emptyTenancyState(), commitOf('t', 1, registered, key({ models: ['m'] })));
    const found = findKey(state, hash, 0)!.key;
    expect([keyAllows(found, 'm'), keyAllows(found, 'n')]).toEqual([true, false]);
  });

  test('a snapshot gives the same state back', () => {
    const state = evolveTenancy(emptyTenancyState(), commitOf('t', 1, registered, key(), revoked));
    evolveTenancy(state, commitOf('t', 2, limitsSet));
    expect(state.limits.get('t')).toMatchObject({ seq: 2, limits: [limit] });
    expect(tenancyStateFromJson(JSON.parse(JSON.stringify(tenancyStateToJson(state))))).toEqual(state);
  });
});

test('planTenants brings the state to what is desired; a key revoked by hand stays revoked', () => {
  const state = emptyTenancyState();
  let version = 0;
  const apply = (desired: readonly DesiredTenant[]): string[] => {
    const plan = planTenants(desired, state, { source: 'config', nowMs: 1 });
    for (const { id, command } of plan) {
      const events = tenant.decide(state.tenants.get(id) ?? tenant.initial, command);
      evolveTenancy(state, commitOf(id, ++version, ...events));
    }
    return plan.map(({ change }) => change);
  };
  const wanted = (...keyIds: string[]): DesiredTenant[] => [
    { tenantId: 't', displayName: 'T', keys: keyIds.map((keyId) => ({ keyId, keyHash: hashApiKey(keyId) })) },
  ];
  expect(apply(wanted('a', 'b'))).toEqual(['+ tenant t', '+ key a of tenant t', '+ key b of tenant t']);
  expect(apply(wanted('a', 'b'))).toEqual([]);
  expect(apply(wanted('a'))).toEqual(['- key b of tenant t']);
  expect(apply(wanted('a', 'b'))).toEqual(['~ key b of tenant t']);
  evolveTenancy(
    state,
    commitOf('t', ++version, { type: 'KeyRevoked', data: { tenantId: 't', keyId: 'a', reason: 'leaked' } }),
  );
  expect(apply(wanted('a', 'b'))).toEqual([]);
  const limited = (limits: LimitInit[]): DesiredTenant[] => [{ ...wanted('a', 'b')[0]!, limits }];
  expect(apply(limited([limit]))).toEqual(['+ limits of tenant t']);
  expect(apply(limited([{ ...limit, amount: 6 }]))).toEqual(['~ limits of tenant t']);
  expect(apply(limited([]))).toEqual(['- limits of tenant t']);
  expect(apply([])).toEqual(['- tenant t']);
});

test('keys are lk- and 192 bits', () => {
  const rng = new SeededRng(1);
  const [one, two] = [newApiKey(rng), newApiKey(rng)];
  expect(one).toMatch(/^lk-[A-Za-z0-9_-]{32}$/);
  expect(one).not.toBe(two);
  expect(hashApiKey('')).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
});
