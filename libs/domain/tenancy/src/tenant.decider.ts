import type { MessageInitShape } from '@bufbuild/protobuf';
import { create, equals } from '@bufbuild/protobuf';
import { tenancy } from '#libs/contracts';
import type { Decider } from '#libs/event-log';
import { CodedError } from '#libs/kernel';

type Registration = MessageInitShape<typeof tenancy.TenantRegisteredSchema>;
type Issue = MessageInitShape<typeof tenancy.KeyIssuedSchema>;

export type TenantCommand =
  | {
      readonly type: 'RegisterTenant';
      readonly tenantId: string;
      readonly displayName: string;
      readonly source: string;
    }
  | { readonly type: 'RemoveTenant'; readonly tenantId: string; readonly reason: string }
  | ({ readonly type: 'IssueKey' } & Omit<Issue, '$typeName'>)
  | { readonly type: 'RevokeKey'; readonly tenantId: string; readonly keyId: string; readonly reason: string };

export type TenantEvent =
  | { readonly type: 'TenantRegistered'; readonly data: Registration }
  | { readonly type: 'TenantRemoved'; readonly data: { readonly tenantId: string; readonly reason: string } }
  | { readonly type: 'KeyIssued'; readonly data: Issue }
  | {
      readonly type: 'KeyRevoked';
      readonly data: { readonly tenantId: string; readonly keyId: string; readonly reason: string };
    };

export interface IssuedKey {
  readonly key: tenancy.KeyIssued;
  /** Why it was revoked; undefined while it is good. */
  readonly revoked: string | undefined;
}

export interface TenantState {
  readonly registration: tenancy.TenantRegistered | undefined;
  readonly keys: ReadonlyMap<string, IssuedKey>;
}

export const tenantLimits = { keysMax: 1024 } as const;

const absent: TenantState = { registration: undefined, keys: new Map() };

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
    }
  },
};

function issueKey(state: TenantState, issue: Omit<Issue, '$typeName'>): readonly TenantEvent[] {
  const key = create(tenancy.KeyIssuedSchema, issue);
  if (state.registration === undefined) {
    throw new CodedError('TENANCY_TENANT_UNKNOWN', `there is no tenant ${key.tenantId}`, {
      advice: 'Register it first.',
    });
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
