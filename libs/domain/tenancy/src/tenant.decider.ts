import type { MessageInitShape } from '@bufbuild/protobuf';
import { create, equals } from '@bufbuild/protobuf';
import { tenancy } from '#libs/contracts';
import type { Decider } from '#libs/event-log';
import { CodedError } from '#libs/kernel';
import { decideKey, keyLimits } from './keys.ts';
import { problemOf } from './limits.ts';
import { decidePeople, tenantUnknown } from './people.ts';

type Registration = MessageInitShape<typeof tenancy.TenantRegisteredSchema>;
type Issue = MessageInitShape<typeof tenancy.KeyIssuedSchema>;
type Change = Omit<MessageInitShape<typeof tenancy.ChangeKeySchema>, '$typeName'>;
type Rotation = MessageInitShape<typeof tenancy.KeyRotatedSchema>;
type ProjectInit = MessageInitShape<typeof tenancy.ProjectRegisteredSchema>;
type UserInit = MessageInitShape<typeof tenancy.UserRegisteredSchema>;
export type LimitInit = MessageInitShape<typeof tenancy.LimitSchema>;

export type TenantCommand =
  | {
      readonly type: 'RegisterTenant';
      readonly tenantId: string;
      readonly displayName: string;
      readonly source: string;
      /** Its prompts share no cached block with other tenants'; undefined leaves it as it is. */
      readonly cacheSalt?: boolean | undefined;
      /** Prefixes that its requests share may be computed ahead on new replicas; undefined leaves it as it is. */
      readonly warm?: boolean | undefined;
    }
  | { readonly type: 'RemoveTenant'; readonly tenantId: string; readonly reason: string }
  | ({ readonly type: 'IssueKey' } & Omit<Issue, '$typeName'>)
  | ({ readonly type: 'ChangeKey' } & Change)
  | {
      readonly type: 'RotateKey';
      readonly tenantId: string;
      readonly keyId: string;
      readonly keyHash: string;
      /** The key before works until then; not after `atMs` is at once. */
      readonly previousUntilMs: number;
      readonly atMs: number;
    }
  | {
      readonly type: 'RegisterProject';
      readonly tenantId: string;
      readonly projectId: string;
      readonly displayName: string;
      readonly source: string;
    }
  | { readonly type: 'RemoveProject'; readonly tenantId: string; readonly projectId: string; readonly reason: string }
  | {
      readonly type: 'RegisterUser';
      readonly tenantId: string;
      readonly userId: string;
      /** '' is of the whole tenant. */
      readonly projectId: string;
      readonly displayName: string;
      readonly source: string;
    }
  | { readonly type: 'RemoveUser'; readonly tenantId: string; readonly userId: string; readonly reason: string }
  | { readonly type: 'RevokeKey'; readonly tenantId: string; readonly keyId: string; readonly reason: string }
  | { readonly type: 'SetLimits'; readonly tenantId: string; readonly limits: readonly LimitInit[] };

export type TenantEvent =
  | { readonly type: 'TenantRegistered'; readonly data: Registration }
  | { readonly type: 'TenantRemoved'; readonly data: { readonly tenantId: string; readonly reason: string } }
  | { readonly type: 'KeyIssued'; readonly data: Issue }
  | {
      readonly type: 'KeyRevoked';
      readonly data: { readonly tenantId: string; readonly keyId: string; readonly reason: string };
    }
  | { readonly type: 'KeyRotated'; readonly data: Rotation }
  | { readonly type: 'ProjectRegistered'; readonly data: ProjectInit }
  | {
      readonly type: 'ProjectRemoved';
      readonly data: { readonly tenantId: string; readonly projectId: string; readonly reason: string };
    }
  | { readonly type: 'UserRegistered'; readonly data: UserInit }
  | {
      readonly type: 'UserRemoved';
      readonly data: { readonly tenantId: string; readonly userId: string; readonly reason: string };
    }
  | { readonly type: 'LimitsSet'; readonly data: { readonly tenantId: string; readonly limits: LimitInit[] } };

export interface IssuedKey {
  readonly key: tenancy.KeyIssued;
  /** Why it was revoked; undefined while it is good. */
  readonly revoked: string | undefined;
  /** What it was before it was rotated, oldest first; each works until its time. */
  readonly previous?: readonly PreviousHash[];
}

export interface PreviousHash {
  readonly keyHash: string;
  readonly untilMs: number;
}

export interface TenantState {
  readonly registration: tenancy.TenantRegistered | undefined;
  readonly keys: ReadonlyMap<string, IssuedKey>;
  readonly limits: readonly tenancy.Limit[];
  readonly projects: ReadonlyMap<string, tenancy.ProjectRegistered>;
  readonly users: ReadonlyMap<string, tenancy.UserRegistered>;
}

export const tenantLimits = { limitsMax: 256 } as const;

const absent: TenantState = {
  registration: undefined,
  keys: new Map(),
  limits: [],
  projects: new Map(),
  users: new Map(),
};

/** Who may send requests, and with which keys: lintel.ev.tenancy.tenant.<id>. Keys are known by their hash alone. */
export const tenant: Decider<TenantState, TenantCommand, TenantEvent> = {
  context: 'tenancy',
  aggregate: 'tenant',
  initial: absent,
  decide(state, command) {
    switch (command.type) {
      case 'RegisterTenant': {
        const { tenantId, displayName, source } = command;
        const { registration } = state;
        const saltedBefore = registration?.cacheSalt ?? false;
        const warmBefore = registration?.warm ?? false;
        const { cacheSalt = saltedBefore, warm = warmBefore } = command;
        const same = registration?.displayName === displayName && registration.source === source;
        if (same && cacheSalt === saltedBefore && warm === warmBefore) return [];
        const wishes = { ...(cacheSalt ? { cacheSalt } : {}), ...(warm ? { warm } : {}) };
        return [{ type: 'TenantRegistered', data: { tenantId, displayName, source, ...wishes } }];
      }
      case 'RemoveTenant': {
        const { tenantId, reason } = command;
        return state.registration === undefined ? [] : [{ type: 'TenantRemoved', data: { tenantId, reason } }];
      }
      case 'IssueKey':
      case 'ChangeKey':
      case 'RotateKey':
      case 'RevokeKey':
        return decideKey(state, command);
      case 'RegisterProject':
      case 'RemoveProject':
      case 'RegisterUser':
      case 'RemoveUser':
        return decidePeople(state, command);
      case 'SetLimits':
        return setLimits(state, command.tenantId, command.limits);
    }
  },
  evolve(state, event) {
    switch (event.type) {
      case 'TenantRegistered':
        return { ...state, registration: create(tenancy.TenantRegisteredSchema, event.data) };
      case 'TenantRemoved':
        return absent;
      case 'KeyIssued': {
        const key = create(tenancy.KeyIssuedSchema, event.data);
        const { previous = [] } = state.keys.get(key.keyId) ?? {};
        return { ...state, keys: new Map(state.keys).set(key.keyId, { key, revoked: undefined, previous }) };
      }
      case 'KeyRevoked': {
        const { keyId, reason } = event.data;
        const issued = state.keys.get(keyId);
        if (issued === undefined) return state;
        return { ...state, keys: new Map(state.keys).set(keyId, { ...issued, revoked: reason }) };
      }
      case 'KeyRotated':
        return rotated(state, create(tenancy.KeyRotatedSchema, event.data));
      case 'ProjectRegistered': {
        const project = create(tenancy.ProjectRegisteredSchema, event.data);
        return { ...state, projects: new Map(state.projects).set(project.projectId, project) };
      }
      case 'ProjectRemoved':
        return { ...state, projects: without(state.projects, event.data.projectId) };
      case 'UserRegistered': {
        const user = create(tenancy.UserRegisteredSchema, event.data);
        return { ...state, users: new Map(state.users).set(user.userId, user) };
      }
      case 'UserRemoved':
        return { ...state, users: without(state.users, event.data.userId) };
      case 'LimitsSet':
        return { ...state, limits: event.data.limits.map((limit) => create(tenancy.LimitSchema, limit)) };
    }
  },
};

function setLimits(state: TenantState, tenantId: string, given: readonly LimitInit[]): readonly TenantEvent[] {
  if (state.registration === undefined) throw tenantUnknown(tenantId);
  if (given.length > tenantLimits.limitsMax) {
    throw new CodedError('TENANCY_LIMITS_TOO_MANY', `${given.length} limits for tenant ${tenantId}`, {
      advice: `Give at most ${tenantLimits.limitsMax}.`,
    });
  }
  const limits = given.map((limit) => create(tenancy.LimitSchema, limit));
  const ids = new Set<string>();
  for (const limit of limits) {
    const problem = ids.has(limit.limitId) ? 'its id is used twice' : problemOf(limit);
    ids.add(limit.limitId);
    if (problem === undefined) continue;
    throw new CodedError('TENANCY_LIMIT_INVALID', `limit "${limit.limitId}" of tenant ${tenantId}: ${problem}`, {
      advice: 'Correct it and set the limits again.',
    });
  }
  const same =
    limits.length === state.limits.length &&
    limits.every((limit, index) => equals(tenancy.LimitSchema, limit, state.limits[index] as tenancy.Limit));
  return same ? [] : [{ type: 'LimitsSet', data: { tenantId, limits } }];
}

function rotated(
  state: TenantState,
  { keyId, keyHash, previousHash, previousUntilMs: untilMs, atMs }: tenancy.KeyRotated,
): TenantState {
  const issued = state.keys.get(keyId);
  if (issued === undefined) return state;
  const previous = [...(issued.previous ?? []), { keyHash: previousHash, untilMs }];
  // Fewer than these are in their overlap, so that one which has ended is found.
  if (previous.length > keyLimits.previousMax) {
    const ended = previous.findIndex((one) => one.untilMs <= atMs);
    previous.splice(Math.max(0, ended), 1);
  }
  const key = create(tenancy.KeyIssuedSchema, { ...issued.key, keyHash });
  return { ...state, keys: new Map(state.keys).set(keyId, { ...issued, key, previous }) };
}

function without<T>(map: ReadonlyMap<string, T>, id: string): ReadonlyMap<string, T> {
  const rest = new Map(map);
  rest.delete(id);
  return rest;
}
