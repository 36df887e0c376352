import { toJson } from '@bufbuild/protobuf';
import { route, tenancy } from '#libs/contracts';
import type { StoredCommit } from '#libs/event-log';
import type { Changes } from './changes.ts';
import type { JudgedCommit } from './commit-fold.ts';
import { commitProjection } from './commit-fold.ts';
import type { TypedEvent } from './events-of.ts';
import { eventsOf } from './events-of.ts';
import type { Projection } from './projection.ts';
import type { JsonValue, Row, Table } from './table.ts';

const place = { seq: 'int', commit_id: 'text', at: 'time', actor: 'text' } as const;

const policyColumns = {
  policy_id: 'text',
  version: 'int',
  models: 'json',
  locked_strategy: 'text',
  default_profile: 'text',
  /** lintel.route.v1.RoutingPolicy, ProtoJSON. */
  policy: 'json',
  source: 'text',
  retired: 'bool',
  retire_reason: 'text',
  ...place,
} as const;

/** Each policy as it stands now. */
export const policyTable: Table = { name: 'policy', view: 'policies_view', columns: policyColumns, key: ['policy_id'] };

/** Every version that ever was: what a request record's policy version refers to. */
export const policyVersionTable: Table = {
  name: 'policy_version',
  view: 'policy_versions_view',
  columns: policyColumns,
  key: ['policy_id', 'version'],
  indexes: [['seq']],
};

export const tenantTable: Table = {
  name: 'tenant',
  view: 'tenants_view',
  columns: {
    tenant_id: 'text',
    display_name: 'text',
    source: 'text',
    removed: 'bool',
    remove_reason: 'text',
    version: 'int',
    ...place,
  },
  key: ['tenant_id'],
};

export const keyTable: Table = {
  name: 'api_key',
  view: 'keys_view',
  columns: {
    tenant_id: 'text',
    key_id: 'text',
    /** sha256 of the key, hex. */
    key_hash: 'text',
    display_name: 'text',
    models: 'json',
    /** Null is never. */
    expires_at: 'time',
    revoked: 'bool',
    revoke_reason: 'text',
    ...place,
  },
  key: ['tenant_id', 'key_id'],
  indexes: [['key_hash']],
};

export const configurationTable: Table = {
  name: 'configuration',
  view: 'configurations_view',
  columns: {
    configuration_id: 'text',
    version: 'int',
    content_hash: 'text',
    source: 'text',
    changes: 'json',
    ...place,
  },
  key: ['seq'],
};

function policyEvent({ type, data }: TypedEvent, commit: JudgedCommit, common: Row, changes: Changes): void {
  const { version } = commit.stored;
  const key = { policy_id: commit.subject.id };
  if (type === 'PolicyAdopted') {
    const { policy, source } = data as route.PolicyAdopted;
    const row: Row = {
      ...common,
      ...key,
      version,
      models: policy?.models ?? [],
      locked_strategy: policy?.lockedStrategy ?? '',
      default_profile: policy?.defaultProfile ?? '',
      policy: policy === undefined ? null : (toJson(route.RoutingPolicySchema, policy) as JsonValue),
      source,
      retired: false,
    };
    changes.put(policyTable, row);
    changes.put(policyVersionTable, row);
  } else if (type === 'PolicyRetired') {
    const { reason } = data as route.PolicyRetired;
    changes.patch(policyTable, { ...common, ...key, version, retired: true, retire_reason: reason });
    changes.put(policyVersionTable, { ...common, ...key, version, retired: true, retire_reason: reason });
  }
}

function tenantEvent({ type, data }: TypedEvent, commit: JudgedCommit, common: Row, changes: Changes): void {
  const tenant = { ...common, tenant_id: commit.subject.id, version: commit.stored.version };
  if (type === 'TenantRegistered') {
    const { displayName, source } = data as tenancy.TenantRegistered;
    changes.put(tenantTable, { ...tenant, display_name: displayName, source, removed: false });
  } else if (type === 'TenantRemoved') {
    const { reason } = data as tenancy.TenantRemoved;
    changes.patch(tenantTable, { ...tenant, removed: true, remove_reason: reason });
  } else if (type === 'KeyIssued') {
    const issued = data as tenancy.KeyIssued;
    changes.put(keyTable, {
      ...common,
      tenant_id: commit.subject.id,
      key_id: issued.keyId,
      key_hash: issued.keyHash,
      display_name: issued.displayName,
      models: issued.models,
      expires_at: issued.expiresAtMs === 0 ? null : issued.expiresAtMs,
      revoked: false,
    });
  } else if (type === 'KeyRotated') {
    const { keyId, keyHash } = data as tenancy.KeyRotated;
    changes.patch(keyTable, { ...common, tenant_id: commit.subject.id, key_id: keyId, key_hash: keyHash });
  } else if (type === 'KeyRevoked') {
    const { keyId, reason } = data as tenancy.KeyRevoked;
    const key = { tenant_id: commit.subject.id, key_id: keyId };
    changes.patch(keyTable, { ...common, ...key, revoked: true, revoke_reason: reason });
  }
}

const aggregates = new Set(['route.policy', 'route.configuration', 'tenancy.tenant']);

/** What operators configured: policies with every version, tenants, keys by hash, and each application of a document. */
export const configuration: Projection<StoredCommit> = commitProjection({
  name: 'configuration',
  version: 1,
  tables: [policyTable, policyVersionTable, tenantTable, keyTable, configurationTable],
  wants: ({ context, aggregate }) => aggregates.has(`${context}.${aggregate}`),
  on: (commit, changes) => {
    const { atMs, actor, events } = eventsOf(commit);
    const { stored, subject } = commit;
    const common = { seq: stored.seq, commit_id: stored.commitId, at: atMs, actor };
    for (const event of events) {
      if (subject.aggregate === 'policy') policyEvent(event, commit, common, changes);
      else if (subject.aggregate === 'tenant') tenantEvent(event, commit, common, changes);
      else if (event.type === 'ConfigurationApplied') {
        const applied = event.data as route.ConfigurationApplied;
        changes.put(configurationTable, {
          ...common,
          configuration_id: subject.id,
          version: stored.version,
          content_hash: applied.contentHash,
          source: applied.source,
          changes: applied.changes,
        });
      }
    }
  },
});
