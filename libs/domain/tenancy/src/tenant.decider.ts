import type { MessageInitShape } from '@bufbuild/protobuf';
import { create, equals } from '@bufbuild/protobuf';
import { tenancy } from '#libs/contracts';
import type { Decider } from '#libs/event-log';
import { CodedError } from '#libs/kernel';
import { problemOf } from './limits.ts';

type Registration = MessageInitShape<typeof tenancy.TenantRegisteredSchema>;
type Issue = MessageInitShape<typeof tenancy.KeyIssuedSchema>;
export type LimitInit = MessageInitShape<typeof tenancy.LimitSchema>;

export type TenantCommand =
  | {
      readonly type: 'RegisterTenant';
      readonly tenantId: string;
      readonly displayName: string;
      readonly source: string;
    }
  | { readonly type: 'RemoveTenant'; readonly tenantId: string; readonly reason: string }
  | ({ readonly type: 'IssueKey' } & Omit<Issue, '$typeName'>)
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
  | { readonly type: 'LimitsSet'; readonly data: { readonly tenantId: string; readonly limits: LimitInit[] } };

export interface IssuedKey {
  readonly key: tenancy.KeyIssued;
  /** Why it was revoked; undefined while it is good. */
  readonly revoked: string | undefined;
}

export interface TenantState {
  readonly registration: tenancy.TenantRegistered | undefined;
  readonly keys: ReadonlyMap<string, IssuedKey>;
  readonly limits: readonly tenancy.Limit[];
}

export const tenantLimits = { keysMax: 1024, limitsMax: 256 } as const;

const absent: TenantState = { registration: undefined, keys: new Map(), limits: [] };

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
        const same = registration?.displayName === displayName && registration.source === source;
        return same ? [] : [{ type: 'TenantRegistered', data: { tenantId, displayName, source } }];
      }
      case 'RemoveTenant': {
        const { tenantId, reason } = command;
        return state.registration === undefined ? [] : [{ type: 'TenantRemoved', data: { tenantId, reason } }];
      }
      case 'IssueKey': {
        const { type: _, ...issue } = command;
        return issueKey(state, issue);
      }
      case 'RevokeKey': {
        const { tenantId, keyId, reason } = command;
        const issued = state.keys.get(keyId);
        if (issued === undefined) throw new CodedError('TENANCY_KEY_UNKNOWN', `tenant ${tenantId} has no key ${keyId}`);
        return issued.revoked === undefined ? [{ type: 'KeyRevoked', data: { tenantId, keyId, reason } }] : [];
      }
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
        return { ...state, keys: new Map(state.keys).set(key.keyId, { key, revoked: undefined }) };
      }
      case 'KeyRevoked': {
        const { keyId, reason } = event.data;
        const issued = state.keys.get(keyId);
        if (issued === undefined) return state;
        return { ...state, keys: new Map(state.keys).set(keyId, { ...issued, revoked: reason }) };
      }
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

const tenantUnknown = (tenantId: string): CodedError =>
  new CodedError('TENANCY_TENANT_UNKNOWN', `there is no tenant ${tenantId}`, { advice: 'Register it first.' });

function issueKey(state: TenantState, issue: Omit<Issue, '$typeName'>): readonly TenantEvent[] {
  const key = create(tenancy.KeyIssuedSchema, issue);
  if (state.registration === undefined) {
    throw tenantUnknown(key.tenantId);
  }
  if (!/^[0-9a-f]{64}$/.test(key.keyHash)) {
    throw new CodedError('TENANCY_KEY_HASH_INVALID', `the hash of key ${key.keyId} is not a sha256 in hex`, {
      advice: 'Give 64 lower-case hex digits: printf %s "$KEY" | sha256sum.',
    });
  }
  const before = state.keys.get(key.keyId);
  if (before !== undefined && before.key.keyHash !== key.keyHash) {
    throw new CodedError('TENANCY_KEY_ID_TAKEN', `tenant ${key.tenantId} has another key named ${key.keyId}`, {
      advice: 'Give the new key an id of its own and revoke the old one.',
    });
  }
  if (before === undefined && state.keys.size >= tenantLimits.keysMax) {
    throw new CodedError('TENANCY_KEYS_TOO_MANY', `tenant ${key.tenantId} has ${state.keys.size} keys`);
  }
  const same = before?.revoked === undefined && before && equals(tenancy.KeyIssuedSchema, before.key, key);
  return same ? [] : [{ type: 'KeyIssued', data: issue }];
}
