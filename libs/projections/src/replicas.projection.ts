import { route } from '#libs/contracts';
import type { StoredCommit } from '#libs/event-log';
import { commitProjection } from './commit-fold.ts';
import { enumText } from './enum-text.ts';
import { eventsOf } from './events-of.ts';
import type { Projection } from './projection.ts';
import type { Row, Table } from './table.ts';

export const replicaTable: Table = {
  name: 'replica',
  view: 'replicas_view',
  columns: {
    replica_id: 'text',
    url: 'text',
    metrics_url: 'text',
    /** "vllm", "sglang", … */
    engine: 'text',
    models: 'json',
    role: 'text',
    roleset: 'text',
    labels: 'json',
    source: 'text',
    credential_ref: 'text',
    draining: 'bool',
    drain_reason: 'text',
    ejected: 'bool',
    eject_reason: 'text',
    ejected_by: 'text',
    ejected_until: 'time',
    removed: 'bool',
    remove_reason: 'text',
    registered_at: 'time',
    changed_at: 'time',
    seq: 'int',
    version: 'int',
    commit_id: 'text',
  },
  key: ['replica_id'],
  indexes: [['url']],
};

const notDraining = { draining: false, drain_reason: null };
const notEjected = { ejected: false, eject_reason: null, ejected_by: null, ejected_until: null };

function registered(data: route.ReplicaRegistered, atMs: number): Row {
  return {
    url: data.url,
    metrics_url: data.metricsUrl,
    engine: enumText(route.EngineKindSchema, data.engine),
    models: data.models,
    role: enumText(route.ReplicaRoleSchema, data.role),
    roleset: data.roleset,
    labels: data.labels,
    source: data.source,
    credential_ref: data.credentialRef,
    removed: false,
    remove_reason: null,
    registered_at: atMs,
    ...notDraining,
    ...notEjected,
  };
}

/** Replicas as decided: registered, drained, ejected, removed. Health and load are telemetry and stand elsewhere. */
export const replicas: Projection<StoredCommit> = commitProjection({
  name: 'replicas',
  version: 1,
  tables: [replicaTable],
  wants: ({ context, aggregate }) => context === 'route' && aggregate === 'replica',
  on: (commit, changes) => {
    const { atMs, events } = eventsOf(commit);
    const { seq, version, commitId } = commit.stored;
    const place = { replica_id: commit.subject.id, changed_at: atMs, seq, version, commit_id: commitId };
    for (const { type, data } of events) {
      switch (type) {
        case 'ReplicaRegistered':
          changes.put(replicaTable, { ...registered(data as route.ReplicaRegistered, atMs), ...place });
          break;
        case 'ReplicaDrained': {
          const { reason } = data as route.ReplicaDrained;
          changes.patch(replicaTable, { ...place, draining: true, drain_reason: reason });
          break;
        }
        case 'ReplicaResumed':
          changes.patch(replicaTable, { ...place, ...notDraining });
          break;
        case 'ReplicaRemoved': {
          const { reason } = data as route.ReplicaRemoved;
          changes.patch(replicaTable, { ...place, removed: true, remove_reason: reason });
          break;
        }
        case 'ReplicaEjected': {
          const { reason, gatewayId, ejectMs } = data as route.ReplicaEjected;
          const ejection = { eject_reason: reason, ejected_by: gatewayId, ejected_until: atMs + ejectMs };
          changes.patch(replicaTable, { ...place, ejected: true, ...ejection });
          break;
        }
        case 'ReplicaReadmitted':
          changes.patch(replicaTable, { ...place, ...notEjected });
          break;
        default:
          // A later type of this context that says nothing about these columns.
          changes.patch(replicaTable, place);
      }
    }
  },
});
