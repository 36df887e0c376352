import type { MessageInitShape } from '@bufbuild/protobuf';
import { create, equals, fromJson, toJson } from '@bufbuild/protobuf';
import { tenancy } from '#libs/contracts';
import type { Decider } from '#libs/event-log';
import { CodedError } from '#libs/kernel';

type Issue = Omit<MessageInitShape<typeof tenancy.AdminKeyIssuedSchema>, '$typeName'>;

export type AdminKeyCommand =
  | ({ readonly type: 'IssueAdminKey' } & Issue)
  | { readonly type: 'RevokeAdminKey'; readonly keyId: string; readonly reason: string };

export type AdminKeyEvent =
  | { readonly type: 'AdminKeyIssued'; readonly data: MessageInitShape<typeof tenancy.AdminKeyIssuedSchema> }
  | { readonly type: 'AdminKeyRevoked'; readonly data: { readonly keyId: string; readonly reason: string } };

export interface AdminKey {
  readonly key: tenancy.AdminKeyIssued;
  /** Why it was revoked; undefined while it is good. */
  readonly revoked: string | undefined;
}

export type AdminKeyState = ReadonlyMap<string, AdminKey>;

/** All admin keys are one aggregate, so that their number has a bound. */
export const adminKeysId = 'keys';
export const adminKeysMax = 256;

/** Who may change what there is, beside the key that diagnostics is started with: lintel.ev.tenancy.admin.keys. */
export const adminKeys: Decider<AdminKeyState, AdminKeyCommand, AdminKeyEvent> = {
  context: 'tenancy',
  aggregate: 'admin',
  initial: new Map(),
  decide(state, command) {
    const { keyId } = command;
    const before = state.get(keyId as string);
    if (command.type === 'RevokeAdminKey') {
      if (before === undefined) {
        throw new CodedError('TENANCY_ADMIN_KEY_NOT_FOUND', `there is no admin key ${keyId}`, {
          advice: 'List them: lintel admin-keys list.',
        });
      }
      return before.revoked === undefined
        ? [{ type: 'AdminKeyRevoked', data: { keyId: command.keyId, reason: command.reason } }]
        : [];
    }
    const { type: _, ...issue } = command;
    const key = create(tenancy.AdminKeyIssuedSchema, issue);
    if (!/^[0-9a-f]{64}$/.test(key.keyHash)) {
      throw new CodedError('TENANCY_KEY_HASH_INVALID', `the hash of admin key ${keyId} is not a sha256 in hex`, {
        advice: 'Give 64 lower-case hex digits: printf %s "$KEY" | sha256sum.',
      });
    }
    if (before !== undefined) {
      if (before.revoked === undefined && equals(tenancy.AdminKeyIssuedSchema, before.key, key)) return [];
      throw new CodedError('TENANCY_ADMIN_KEY_ID_TAKEN', `there was an admin key ${keyId} before`, {
        advice: 'Give the new key an id of its own.',
      });
    }
    if (state.size >= adminKeysMax) {
      throw new CodedError('TENANCY_ADMIN_KEYS_TOO_MANY', `there were ${state.size} admin keys`, {
        advice: 'Revoked ones count: go on with one that is there.',
      });
    }
    return [{ type: 'AdminKeyIssued', data: issue }];
  },
  evolve(state, event) {
    switch (event.type) {
      case 'AdminKeyIssued': {
        const key = create(tenancy.AdminKeyIssuedSchema, event.data);
        return new Map(state).set(key.keyId, { key, revoked: undefined });
      }
      case 'AdminKeyRevoked': {
        const before = state.get(event.data.keyId);
        if (before === undefined) return state;
        return new Map(state).set(event.data.keyId, { ...before, revoked: event.data.reason });
      }
      default:
        return state;
    }
  },
};

/** Hex sha256 of each key that is good now, with its id. */
export function goodAdminKeys(
  state: AdminKeyState,
  nowMs: number,
): { readonly id: string; readonly keyHash: string }[] {
  return [...state.values()].flatMap(({ key: { keyId, keyHash, expiresAtMs }, revoked }) =>
    revoked !== undefined || (expiresAtMs !== 0 && nowMs >= expiresAtMs) ? [] : [{ id: keyId, keyHash }],
  );
}

export const adminKeysToJson = (state: AdminKeyState): unknown =>
  [...state.values()].map(({ key, revoked }) => ({ key: toJson(tenancy.AdminKeyIssuedSchema, key), revoked }));

export function adminKeysFromJson(json: unknown): AdminKeyState {
  return new Map(
    (json as { key: never; revoked?: string }[]).map(({ key: given, revoked }) => {
      const key = fromJson(tenancy.AdminKeyIssuedSchema, given);
      return [key.keyId, { key, revoked }];
    }),
  );
}
