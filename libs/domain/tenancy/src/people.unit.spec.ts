import { describe, expect, test } from '@jest/globals';
import { EventRegistry } from '#libs/contracts';
import type { DecodedCommit, DomainEvent } from '#libs/event-log';
import { decodeCommit, prepareCommit } from '#libs/event-log';
import { spec } from '#libs/testkit';
import type { AdminKeyCommand, AdminKeyEvent } from './admin-key.decider.ts';
import { adminKeys, goodAdminKeys } from './admin-key.decider.ts';
import { hashApiKey } from './api-key.ts';
import { keyLimits } from './keys.ts';
import type { DesiredTenant } from './plan-tenants.ts';
import { planTenants } from './plan-tenants.ts';
import {
  emptyTenancyState,
  evolveTenancy,
  findKey,
  keyAllowsEndpoint,
  tenancyStateFromJson,
  tenancyStateToJson,
} from './state.ts';
import type { TenantCommand, TenantEvent } from './tenant.decider.ts';
import { tenant } from './tenant.decider.ts';

const [one, two, three] = ['one', 'two', 'three'].map(hashApiKey) as [string, string, string];
const t = { tenantId: 't' };
const registered: TenantEvent = { type: 'TenantRegistered', data: { ...t, displayName: 'T', source: 'api' } };
const project: TenantEvent = {
  type: 'ProjectRegistered',
  data: { ...t, projectId: 'p', displayName: 'P', source: 'api' },
};
const user = (projectId = ''): TenantEvent => ({
  type: 'UserRegistered',
  data: { ...t, userId: 'u', projectId, displayName: 'U', source: 'api' },
});
const issued = (more: object = {}): TenantEvent => ({
  type: 'KeyIssued',
  data: { ...t, keyId: 'k', keyHash: one, ...more },
});
const issue = (more: object = {}): TenantCommand => ({ type: 'IssueKey', ...t, keyId: 'k', keyHash: one, ...more });
const registerProject: TenantCommand = {
  type: 'RegisterProject',
  ...t,
  projectId: 'p',
  displayName: 'P',
  source: 'api',
};
const registerUser = (projectId = ''): TenantCommand => ({
  type: 'RegisterUser',
  ...t,
  userId: 'u',
  projectId,
  displayName: 'U',
  source: 'api',
});
const rotate = (keyHash: string, previousUntilMs = 0, atMs = 1): TenantCommand => ({
  type: 'RotateKey',
  ...t,
  keyId: 'k',
  keyHash,
  previousUntilMs,
  atMs,
});
const rotated = (keyHash: string, previousHash: string, previousUntilMs = 0, atMs = 1): TenantEvent => ({
  type: 'KeyRotated',
  data: { ...t, keyId: 'k', keyHash, previousHash, previousUntilMs, atMs },
});
const revoked = (reason: string): TenantEvent => ({ type: 'KeyRevoked', data: { ...t, keyId: 'k', reason } });

describe('projects and users', () => {
  spec(tenant)
    .given()
    .when(registerProject)
    .thenRefuses('TENANCY_TENANT_NOT_FOUND')
    .given(registered)
    .when(registerProject)
    .then(project)
    .given(registered, project)
    .when(registerProject)
    .thenNothing()
    .given(registered)
    .when(registerUser('p'))
    .thenRefuses('TENANCY_PROJECT_NOT_FOUND')
    .given(registered, project)
    .when(registerUser('p'))
    .then(user('p'))
    .given(registered, user())
    .when(registerUser())
    .thenNothing()
    .given(registered)
    .when({ type: 'RemoveUser', ...t, userId: 'u', reason: 'left' })
    .thenRefuses('TENANCY_USER_NOT_FOUND')
    .given(registered, user(), issued({ userId: 'u' }))
    .when({ type: 'RemoveUser', ...t, userId: 'u', reason: 'left' })
    .then(revoked('user u removed'), { type: 'UserRemoved', data: { ...t, userId: 'u', reason: 'left' } })
    .given(registered, project, user('p'), issued({ projectId: 'p' }))
    .when({ type: 'RemoveProject', ...t, projectId: 'p', reason: 'done' })
    .then(
      revoked('project p removed'),
      { type: 'UserRemoved', data: { ...t, userId: 'u', reason: 'project p removed' } },
      { type: 'ProjectRemoved', data: { ...t, projectId: 'p', reason: 'done' } },
    );
});

describe('keys', () => {
  spec(tenant)
    .given(registered)
    .when(issue({ projectId: 'p' }))
    .thenRefuses('TENANCY_PROJECT_NOT_FOUND')
    .given(registered)
    .when(issue({ userId: 'u' }))
    .thenRefuses('TENANCY_USER_NOT_FOUND')
    .given(registered, project, user('p'))
    .when(issue({ userId: 'u' }))
    .thenRefuses('TENANCY_KEY_PROJECT_INVALID')
    .given(registered, project, user('p'))
    .when(issue({ userId: 'u', projectId: 'p' }))
    .then(issued({ userId: 'u', projectId: 'p' }))
    .given(registered)
    .when(issue({ endpoints: ['/v1/chat'] }))
    .thenRefuses('TENANCY_KEY_SCOPE_INVALID')
    .given(registered)
    .when(issue({ priority: 9 }))
    .thenRefuses('TENANCY_KEY_SCOPE_INVALID')
    .given(registered, issued({ source: 'api' }))
    .when({ type: 'ChangeKey', ...t, keyId: 'k', priority: 0, endpoints: ['/v1/audio/*'] })
    .then(issued({ source: 'api', priority: 0, endpoints: ['/v1/audio/*'] }))
    .given(registered)
    .when({ type: 'ChangeKey', ...t, keyId: 'k' })
    .thenRefuses('TENANCY_KEY_NOT_FOUND')
    .given(registered, issued(), revoked('leaked'))
    .when({ type: 'ChangeKey', ...t, keyId: 'k' })
    .thenRefuses('TENANCY_KEY_REVOKED_CONFLICT')
    .given(registered, issued(), revoked('leaked'))
    .when(rotate(two))
    .thenRefuses('TENANCY_KEY_REVOKED_CONFLICT')
    .given(registered, issued())
    .when(rotate(two, 100))
    .then(rotated(two, one, 100))
    .given(registered, issued(), rotated(two, one, 100))
    .when(rotate(two, 100))
    .thenNothing()
    .given(registered, issued(), rotated(two, one))
    .when(rotate(one))
    .thenRefuses('TENANCY_KEY_REUSED_CONFLICT')
    .given(registered, issued(), ...[1, 2, 3, 4].map((n) => rotated(hashApiKey(`k${n}`), hashApiKey(`k${n - 1}`), 100)))
    .when(rotate(two, 100))
    .thenRefuses('TENANCY_ROTATIONS_CONFLICT')
    .given(registered, issued(), ...[1, 2, 3, 4].map((n) => rotated(hashApiKey(`k${n}`), hashApiKey(`k${n - 1}`), 100)))
    .when(rotate(two, 500, 200))
    .then(rotated(two, hashApiKey('k4'), 500, 200));
});

describe('admin keys', () => {
  const key = { keyId: 'a', keyHash: one };
  const issueAdmin = (more: object = {}): AdminKeyCommand => ({ type: 'IssueAdminKey', ...key, ...more });
  const adminIssued: AdminKeyEvent = { type: 'AdminKeyIssued', data: key };
  const adminRevoked: AdminKeyEvent = { type: 'AdminKeyRevoked', data: { keyId: 'a', reason: 'leaked' } };
  spec(adminKeys)
    .given()
    .when(issueAdmin())
    .then(adminIssued)
    .given(adminIssued)
    .when(issueAdmin())
    .thenNothing()
    .given(adminIssued)
    .when(issueAdmin({ keyHash: two }))
    .thenRefuses('TENANCY_ADMIN_KEY_ID_TAKEN')
    .given(adminIssued, adminRevoked)
    .when(issueAdmin())
    .thenRefuses('TENANCY_ADMIN_KEY_ID_TAKEN')
    .given()
    .when(issueAdmin({ keyHash: 'one' }))
    .thenRefuses('TENANCY_KEY_HASH_INVALID')
    .given()
    .when({ type: 'RevokeAdminKey', keyId: 'a', reason: 'leaked' })
    .thenRefuses('TENANCY_ADMIN_KEY_NOT_FOUND')
    .given(adminIssued)
    .when({ type: 'RevokeAdminKey', keyId: 'a', reason: 'leaked' })
    .then(adminRevoked)
    .given(adminIssued, adminRevoked)
    .when({ type: 'RevokeAdminKey', keyId: 'a', reason: 'again' })
    .thenNothing();

  test('only those count that are neither revoked nor expired', () => {
    const states = [adminIssued].reduce((state, event) => adminKeys.evolve(state, event), adminKeys.initial);
    const expiring = adminKeys.evolve(states, {
      type: 'AdminKeyIssued',
      data: { keyId: 'b', keyHash: two, expiresAtMs: 10 },
    });
    expect(goodAdminKeys(expiring, 9).map(({ id }) => id)).toEqual(['a', 'b']);
    expect(goodAdminKeys(expiring, 10).map(({ id }) => id)).toEqual(['a']);
    expect(goodAdminKeys(adminKeys.evolve(expiring, adminRevoked), 9).map(({ id }) => id)).toEqual(['b']);
  });
});

const registry = new EventRegistry();
function commit(aggregate: string, id: string, version: number, ...events: readonly DomainEvent[]): DecodedCommit {
  const subject = { context: 'tenancy', aggregate, id };
  const head = { version: version - 1, hash: '' };
  const context = { atMs: 1, actor: 'test' };
  const prepared = prepareCommit({ registry, subject, commitId: `${id}-${version}`, head, events, context });
  return decodeCommit({ ...prepared, seq: version, storedAtMs: 1 }, registry);
}

describe('the fold', () => {
  test('after a rotation both keys work until the overlap ends, then the new one alone', () => {
    const state = evolveTenancy(emptyTenancyState(), commit('tenant', 't', 1, registered, issued()));
    evolveTenancy(state, commit('tenant', 't', 2, rotated(two, one, 100)));
    const status = (hash: string, nowMs: number): string | undefined => findKey(state, hash, nowMs)?.status;
    expect([status(one, 99), status(two, 99)]).toEqual(['good', 'good']);
    expect([status(one, 100), status(two, 100)]).toEqual(['rotated', 'good']);
    evolveTenancy(state, commit('tenant', 't', 3, rotated(three, two, 50)));
    expect([status(one, 99), status(two, 99), status(three, 99)]).toEqual(['good', 'rotated', 'good']);
    evolveTenancy(state, commit('tenant', 't', 4, revoked('leaked')));
    expect([status(one, 0), status(two, 0), status(three, 0)]).toEqual(['revoked', 'revoked', 'revoked']);
    evolveTenancy(state, commit('tenant', 't', 5, { type: 'TenantRemoved', data: { ...t, reason: 'gone' } }));
    expect(state.keysByHash.size).toBe(0);
  });

  test('former keys are bounded; those in their overlap are kept', () => {
    const state = evolveTenancy(emptyTenancyState(), commit('tenant', 't', 1, registered, issued()));
    const hash = (n: number): string => (n === 0 ? one : hashApiKey(`r${n}`));
    const rotations = keyLimits.previousMax + 5;
    for (let n = 1; n <= rotations; n++)
      evolveTenancy(state, commit('tenant', 't', n + 1, rotated(hash(n), hash(n - 1), n === 1 ? 1e6 : 0, n)));
    expect(findKey(state, one, 1e5)?.status).toBe('good');
    expect(findKey(state, hash(1), 1e5)).toBeUndefined();
    expect(state.keysByHash.size).toBe(keyLimits.previousMax + 1);
  });

  test('a snapshot gives the same state back', () => {
    const state = evolveTenancy(
      emptyTenancyState(),
      commit('tenant', 't', 1, registered, project, user('p'), issued({ userId: 'u', projectId: 'p', priority: 2 })),
    );
    evolveTenancy(state, commit('tenant', 't', 2, rotated(two, one, 100)));
    evolveTenancy(
      state,
      commit('admin', 'keys', 1, { type: 'AdminKeyIssued', data: { keyId: 'a', keyHash: three } } as DomainEvent),
    );
    const back = tenancyStateFromJson(JSON.parse(JSON.stringify(tenancyStateToJson(state))));
    expect(back).toEqual(state);
    expect(back.admin.size).toBe(1);
    expect(findKey(back, one, 99)?.key).toMatchObject({ projectId: 'p', userId: 'u', priority: 2 });
  });

  test.each([
    [[], '/v1/embeddings', true],
    [['/v1/chat/completions'], '/v1/chat/completions', true],
    [['/v1/chat/completions'], '/v1/embeddings', false],
    [['/v1/audio/*'], '/v1/audio/speech', true],
    [['/v1/audio/*'], '/v1/images/generations', false],
    [['/v1/responses'], '/v1/responses/{id}', true],
    [['/v1/messages'], '/v1/messages/count_tokens', false],
    [['/v1/embeddings'], '/v1/models', true],
  ])('a scope of %j lets %s: %s', (endpoints, path, allowed) => {
    const state = evolveTenancy(emptyTenancyState(), commit('tenant', 't', 1, registered, issued({ endpoints })));
    expect(keyAllowsEndpoint(findKey(state, one, 0)!.key, path)).toBe(allowed);
  });
});

describe('planTenants', () => {
  const world = () => {
    const state = emptyTenancyState();
    let version = 0;
    const give = (command: TenantCommand): void => {
      const id = command.tenantId as string;
      const events = tenant.decide(state.tenants.get(id) ?? tenant.initial, command);
      if (events.length > 0) evolveTenancy(state, commit('tenant', id, ++version, ...events));
    };
    const apply = (desired: readonly DesiredTenant[], nowMs = 1): string[] => {
      const plan = planTenants(desired, state, { source: 'config:x', nowMs });
      for (const { command } of plan) give(command);
      return plan.map(({ change }) => change);
    };
    return { state, give, apply };
  };
  const full: DesiredTenant = {
    ...t,
    displayName: 'T',
    projects: [{ projectId: 'p', displayName: 'P' }],
    users: [{ userId: 'u', projectId: 'p', displayName: '' }],
    keys: [{ keyId: 'k', keyHash: one, projectId: 'p', userId: 'u' }],
  };

  test('brings projects, users and keys, and takes them away again with the document', () => {
    const { apply } = world();
    expect(apply([full])).toEqual([
      '+ tenant t',
      '+ project p of tenant t',
      '+ user u of tenant t',
      '+ key k of tenant t',
    ]);
    expect(apply([full])).toEqual([]);
    expect(apply([{ ...t, displayName: 'T', keys: [] }])).toEqual([
      '- key k of tenant t',
      '- user u of tenant t',
      '- project p of tenant t',
    ]);
    expect(apply([])).toEqual(['- tenant t']);
  });

  test('what the API made stays, and stays the API’s though a document names it', () => {
    const { apply, give, state } = world();
    apply([full]);
    give({ type: 'IssueKey', ...t, keyId: 'by-api', keyHash: two, userId: 'u', projectId: 'p', source: 'api' });
    expect(apply([full])).toEqual([]);
    expect(apply([{ ...t, displayName: 'T', keys: [] }])).toEqual(['- key k of tenant t']);
    expect(apply([])).toEqual(['~ tenant t stays, for what the API made in it']);
    expect(findKey(state, two, 0)?.status).toBe('good');
    expect(findKey(state, one, 0)?.status).toBe('revoked');
    expect(apply([])).toEqual([]);
    // Named, it is still the API's.
    expect(
      apply([{ ...full, displayName: 'Tee', keys: [{ keyId: 'by-api', keyHash: two, userId: 'u', projectId: 'p' }] }]),
    ).toEqual(['~ tenant t']);
    expect(apply([])).toEqual([]);
    expect(findKey(state, two, 0)?.status).toBe('good');
  });

  test('another hash in the document rotates the key; a rotation by the API outlives the document', () => {
    const { apply, give, state } = world();
    apply([full]);
    const rotatedTo = (keyHash: string): DesiredTenant[] => [
      { ...full, keys: [{ ...full.keys[0], keyHash, previousUntilMs: 100 }] },
    ];
    expect(apply(rotatedTo(two), 50)).toEqual(['~ key k of tenant t rotated']);
    expect([findKey(state, one, 99)?.status, findKey(state, one, 100)?.status]).toEqual(['good', 'rotated']);
    give(rotate(three, 0, 60));
    expect(apply(rotatedTo(two), 70)).toEqual([]);
    expect([findKey(state, three, 70)?.status, findKey(state, two, 70)?.status]).toEqual(['good', 'rotated']);
  });
});
