import { describe, expect, test } from '@jest/globals';
import { EventRegistry } from '#libs/contracts';
import {
  emptyFleetState,
  evolveFleet,
  fleetStateFromJson,
  policyItems,
  replicaItems,
  stateJson,
  tenantItems,
} from '#libs/domain/diag';
import type { FleetState } from '#libs/domain/diag';
import { decodeCommit, prepareCommit } from '#libs/event-log';

const registry = new EventRegistry();

type Written = readonly [context: string, aggregate: string, id: string, type: string, data: object];

function fold(...commits: readonly Written[]): FleetState {
  return commits.reduce((state, [context, aggregate, id, type, data], index) => {
    const prepared = prepareCommit({
      registry,
      subject: { context, aggregate, id },
      commitId: `c${index + 1}`,
      head: { version: index, hash: '' },
      events: [{ type, data }],
      context: { atMs: 1, actor: 'test:unit' },
    });
    return evolveFleet(state, decodeCommit({ ...prepared, seq: index + 1, storedAtMs: 1 }, registry));
  }, emptyFleetState());
}

const tenant = (id: string): Written => [
  'tenancy',
  'tenant',
  id,
  'TenantRegistered',
  { tenantId: id, displayName: id },
];
const key = (tenantId: string, keyId: string, more: object = {}): Written => [
  'tenancy',
  'tenant',
  tenantId,
  'KeyIssued',
  { tenantId, keyId, keyHash: 'ab', ...more },
];

describe('the fleet as lists', () => {
  const state = fold(
    [
      'route',
      'replica',
      'b',
      'ReplicaRegistered',
      { replicaId: 'b', url: 'http://b', engine: 1, models: ['m'], role: 1 },
    ],
    ['route', 'replica', 'a', 'ReplicaRegistered', { replicaId: 'a', url: 'http://a', labels: { zone: 'z' } }],
    ['route', 'replica', 'b', 'ReplicaDrained', { replicaId: 'b', reason: 'upgrade' }],
    [
      'route',
      'policy',
      'p',
      'PolicyAdopted',
      { policy: { policyId: 'p', models: ['*'], profiles: [{ name: 'd', strategy: 'random' }] }, source: 'apply' },
    ],
    tenant('t'),
    tenant('t2'),
    key('t', 'k1', { models: ['m'], expiresAtMs: 5 }),
    key('t2', 'k1'),
    ['tenancy', 'tenant', 't', 'KeyRevoked', { tenantId: 't', keyId: 'k1', reason: 'lost' }],
  );

  test('replicas, by id', () => {
    expect(replicaItems(state)).toMatchObject([
      { replicaId: 'a', labels: { zone: 'z' }, draining: false, drainReason: null, live: null, seq: 2 },
      {
        replicaId: 'b',
        engine: 'vllm',
        role: 'combined',
        models: ['m'],
        draining: true,
        drainReason: 'upgrade',
        seq: 3,
      },
    ]);
  });

  test('policies, with what the log leaves out filled in', () => {
    expect(policyItems(state)).toMatchObject([
      { policyId: 'p', source: 'apply', profiles: [{ name: 'd', strategy: 'random', requestsPerSecond: 0 }] },
    ]);
  });

  test('tenants with their own keys, never a hash', () => {
    const items = tenantItems(state);
    expect(items).toMatchObject([
      { tenantId: 't', keys: [{ keyId: 'k1', models: ['m'], expiresAtMs: 5, revoked: true, revokeReason: 'lost' }] },
      { tenantId: 't2', keys: [{ keyId: 'k1', expiresAtMs: null, revoked: false }] },
    ]);
    expect(JSON.stringify(items)).not.toContain('ab"');
  });

  test('limits of a tenant stay when it is named anew', () => {
    const limits = [{ limitId: 'rpm', metric: 1, windowMs: 60_000, amount: 5, perUser: true }];
    const limited = fold(tenant('t'), ['tenancy', 'tenant', 't', 'LimitsSet', { tenantId: 't', limits }], tenant('t'));
    expect(tenantItems(limited)[0]!.limits).toEqual([
      { limitId: 'rpm', keyId: '', models: [], per: ['user'], metric: 'requests', windowMs: 60_000, amount: 5 },
    ]);
  });

  test('a removed tenant takes its keys along, and no other', () => {
    const gone = fold(tenant('t'), tenant('t2'), key('t', 'k'), key('t2', 'k'), [
      'tenancy',
      'tenant',
      't',
      'TenantRemoved',
      { tenantId: 't' },
    ]);
    expect([...gone.keys.keys()]).toEqual(['t2/k']);
    expect(tenantItems(gone).map(({ tenantId }) => tenantId)).toEqual(['t2']);
  });

  test('the state comes back from its JSON as it was', () => {
    const json = stateJson(state);
    expect(stateJson(fleetStateFromJson(JSON.parse(JSON.stringify(json)) as typeof json))).toEqual(json);
  });
});
