import type { MessageInitShape } from '@bufbuild/protobuf';
import { create, equals } from '@bufbuild/protobuf';
import { endpointProblem, tenancy } from '#libs/contracts';
import { CodedError } from '#libs/kernel';
import { projectUnknown, tenantUnknown, userUnknown } from './people.ts';
import type { TenantCommand, TenantEvent, TenantState } from './tenant.decider.ts';

type Issue = Omit<MessageInitShape<typeof tenancy.KeyIssuedSchema>, '$typeName'>;
type KeyCommand = Extract<TenantCommand, { type: 'IssueKey' | 'ChangeKey' | 'RotateKey' | 'RevokeKey' }>;

/** Bounds of one key and of a tenant's keys. */
export const keyLimits = {
  keysMax: 1024,
  /** Hashes before the one in force that are remembered; the oldest is forgotten. */
  previousMax: 16,
  /** Of these so many may be in their overlap. */
  overlapsMax: 4,
  endpointsMax: 64,
  priorityMin: -8,
  priorityMax: 8,
} as const;

const hashForm = /^[0-9a-f]{64}$/;

export const keyUnknown = (tenantId: string, keyId: string): CodedError =>
  new CodedError('TENANCY_KEY_NOT_FOUND', `tenant ${tenantId} has no key ${keyId}`, {
    advice: `List them: lintel keys list ${tenantId}.`,
  });

const hashInvalid = (keyId: string): CodedError =>
  new CodedError('TENANCY_KEY_HASH_INVALID', `the hash of key ${keyId} is not a sha256 in hex`, {
    advice: 'Give 64 lower-case hex digits: printf %s "$KEY" | sha256sum.',
  });

export function decideKey(state: TenantState, command: KeyCommand): readonly TenantEvent[] {
  const { tenantId = '', keyId = '' } = command;
  if (command.type === 'IssueKey') {
    const { type: _, ...issue } = command;
    return issueKey(state, issue);
  }
  const issued = state.keys.get(keyId);
  if (issued === undefined) throw keyUnknown(tenantId, keyId);
  if (command.type === 'RevokeKey') {
    const { reason } = command;
    return issued.revoked === undefined ? [{ type: 'KeyRevoked', data: { tenantId, keyId, reason } }] : [];
  }
  if (issued.revoked !== undefined) {
    throw new CodedError('TENANCY_KEY_REVOKED_CONFLICT', `key ${keyId} of tenant ${tenantId} is revoked`, {
      advice: 'A revoked key stays so: create another one.',
    });
  }
  if (command.type === 'ChangeKey') {
    const { type: _, ...change } = command;
    const { keyHash, source } = issued.key;
    return issueKey(state, { ...change, keyHash, source });
  }
  return rotateKey(issued, command);
}

function issueKey(state: TenantState, issue: Issue): readonly TenantEvent[] {
  const key = create(tenancy.KeyIssuedSchema, issue);
  const { tenantId, keyId } = key;
  if (state.registration === undefined) throw tenantUnknown(tenantId);
  if (!hashForm.test(key.keyHash)) throw hashInvalid(keyId);
  if (key.projectId !== '' && !state.projects.has(key.projectId)) throw projectUnknown(tenantId, key.projectId);
  const user = key.userId === '' ? undefined : state.users.get(key.userId);
  if (key.userId !== '' && user === undefined) throw userUnknown(tenantId, key.userId);
  if (user !== undefined && user.projectId !== '' && user.projectId !== key.projectId) {
    throw new CodedError(
      'TENANCY_KEY_PROJECT_INVALID',
      `key ${keyId} is of ${key.projectId === '' ? 'no project' : `project ${key.projectId}`}, and its user ${key.userId} of project ${user.projectId}`,
      { advice: `Give the key project ${user.projectId}, or a user of the whole tenant.` },
    );
  }
  const problem = scopeProblem(key);
  if (problem !== undefined) {
    throw new CodedError('TENANCY_KEY_SCOPE_INVALID', `key ${keyId} of tenant ${tenantId}: ${problem}`, {
      advice: 'Correct it and give the key again.',
    });
  }
  const before = state.keys.get(keyId);
  if (before !== undefined && before.key.keyHash !== key.keyHash) {
    throw new CodedError('TENANCY_KEY_ID_TAKEN', `tenant ${tenantId} has another key named ${keyId}`, {
      advice: 'Rotate that key, or give the new one an id of its own.',
    });
  }
  if (before === undefined && state.keys.size >= keyLimits.keysMax) {
    throw new CodedError('TENANCY_KEYS_TOO_MANY', `tenant ${tenantId} has ${state.keys.size} keys`, {
      advice: 'Use another tenant: revoked keys count, since their names stay taken.',
    });
  }
  const same = before !== undefined && before.revoked === undefined && equals(tenancy.KeyIssuedSchema, before.key, key);
  return same ? [] : [{ type: 'KeyIssued', data: issue }];
}

function scopeProblem({ endpoints, priority }: tenancy.KeyIssued): string | undefined {
  if (endpoints.length > keyLimits.endpointsMax) return `more than ${keyLimits.endpointsMax} endpoints`;
  for (const pattern of endpoints) {
    const problem = endpointProblem(pattern);
    if (problem !== undefined) return problem;
  }
  const { priorityMin, priorityMax } = keyLimits;
  if (priority === undefined || (Number.isInteger(priority) && priority >= priorityMin && priority <= priorityMax))
    return undefined;
  return `priority ${priority} is no whole number from ${priorityMin} to ${priorityMax}`;
}

function rotateKey(
  issued: NonNullable<ReturnType<TenantState['keys']['get']>>,
  { keyHash, previousUntilMs, atMs }: Extract<TenantCommand, { type: 'RotateKey' }>,
): readonly TenantEvent[] {
  const { tenantId, keyId, keyHash: previousHash } = issued.key;
  if (!hashForm.test(keyHash)) throw hashInvalid(keyId);
  if (keyHash === previousHash) return [];
  const { previous = [] } = issued;
  if (previous.some((one) => one.keyHash === keyHash)) {
    throw new CodedError('TENANCY_KEY_REUSED_CONFLICT', `key ${keyId} of tenant ${tenantId} was this one before`, {
      advice: 'Rotate to a new key.',
    });
  }
  const overlaps = previous.filter(({ untilMs }) => untilMs > atMs).length;
  if (previousUntilMs > atMs && overlaps >= keyLimits.overlapsMax) {
    throw new CodedError(
      'TENANCY_ROTATIONS_CONFLICT',
      `${overlaps} former keys of key ${keyId} of tenant ${tenantId} still work`,
      { advice: 'Wait until one of them has ended, or rotate without an overlap.' },
    );
  }
  return [{ type: 'KeyRotated', data: { tenantId, keyId, keyHash, previousHash, previousUntilMs, atMs } }];
}
