import { toJson } from '@bufbuild/protobuf';
import { route, tenancy } from '#libs/contracts';
import type { DecodedCommit, DecodedEvent } from '#libs/event-log';
import type { Json } from './json.ts';
import { enumName } from './json.ts';

export const stateKinds = [
  'replicas',
  'policies',
  'modelRoutes',
  'tenants',
  'projects',
  'users',
  'keys',
  'adminKeys',
  'configurations',
] as const;
export type StateKind = (typeof stateKinds)[number];

/** One thing as the log says it is, and the commit that last changed it. */
export interface StateEntry {
  readonly id: string;
  readonly seq: number;
  readonly version: number;
  readonly commitId: string;
  readonly atMs: number;
  readonly actor: string;
  readonly fields: Readonly<Record<string, Json>>;
}

/** What the log says of the fleet: by kind, by id. What was removed or retired is not in it. */
export type FleetState = Readonly<Record<StateKind, ReadonlyMap<string, StateEntry>>>;
type Mutable = Record<StateKind, Map<string, StateEntry>>;

export function emptyFleetState(): FleetState {
  return Object.fromEntries(stateKinds.map((kind) => [kind, new Map()])) as unknown as FleetState;
}

interface Edit {
  put(kind: StateKind, id: string, fields: Record<string, Json>): void;
  /** Of what is there; else nothing. */
  patch(kind: StateKind, id: string, fields: Record<string, Json>): void;
  /** Keeps the other fields of what is there. */
  merge(kind: StateKind, id: string, fields: Record<string, Json>): void;
  drop(kind: StateKind, id: string): void;
  dropAll(kind: StateKind, prefix: string): void;
}

function replicaFields(data: route.ReplicaRegistered): Record<string, Json> {
  return {
    url: data.url,
    engine: enumName(route.EngineKindSchema, data.engine),
    models: data.models,
    role: enumName(route.ReplicaRoleSchema, data.role),
    roleset: data.roleset,
    labels: data.labels,
    source: data.source,
    metricsUrl: data.metricsUrl,
    draining: false,
    ejected: false,
  };
}

function policyFields({ policy, source }: route.PolicyAdopted): Record<string, Json> {
  const json = policy === undefined ? {} : (toJson(route.RoutingPolicySchema, policy) as Record<string, Json>);
  return { models: [], lockedStrategy: '', defaultProfile: '', profiles: [], ...json, source };
}

function modelRouteFields({ route: given, source }: route.ModelRouteSet): Record<string, Json> {
  const json = given === undefined ? {} : (toJson(route.ModelRouteSchema, given) as Record<string, Json>);
  return { models: [], tenants: [], shares: [], fallbacks: [], ...json, source };
}

function keyFields(data: tenancy.KeyIssued): Record<string, Json> {
  const { tenantId, displayName, models, expiresAtMs, keyHash, projectId, userId, endpoints, priority, source } = data;
  return {
    tenantId,
    displayName,
    projectId,
    userId,
    models,
    endpoints,
    priority: priority ?? null,
    source,
    expiresAtMs: expiresAtMs === 0 ? null : expiresAtMs,
    keyHash,
    revoked: false,
  };
}

function apply({ type, data }: DecodedEvent, id: string, edit: Edit): void {
  const reason = (data as { reason?: string }).reason ?? '';
  const keyId = `${id}/${(data as { keyId?: string }).keyId ?? ''}`;
  switch (type) {
    case 'ReplicaRegistered':
      return edit.put('replicas', id, replicaFields(data as route.ReplicaRegistered));
    case 'ReplicaDrained':
      return edit.patch('replicas', id, { draining: true, drainReason: reason });
    case 'ReplicaResumed':
      return edit.patch('replicas', id, { draining: false, drainReason: '' });
    case 'ReplicaEjected':
      return edit.patch('replicas', id, { ejected: true, ejectReason: reason });
    case 'ReplicaReadmitted':
      return edit.patch('replicas', id, { ejected: false, ejectReason: '' });
    case 'ReplicaRemoved':
      return edit.drop('replicas', id);
    case 'PolicyAdopted':
      return edit.put('policies', id, policyFields(data as route.PolicyAdopted));
    case 'PolicyRetired':
      return edit.drop('policies', id);
    case 'ModelRouteSet':
      return edit.put('modelRoutes', id, modelRouteFields(data as route.ModelRouteSet));
    case 'ModelRouteRemoved':
      return edit.drop('modelRoutes', id);
    case 'TenantRegistered': {
      const { displayName, source, cacheSalt, warm } = data as tenancy.TenantRegistered;
      const wishes = { ...(cacheSalt ? { cacheSalt } : {}), ...(warm ? { warm } : {}) };
      return edit.merge('tenants', id, { displayName, source, ...wishes });
    }
    case 'LimitsSet': {
      const { limits } = toJson(tenancy.LimitsSetSchema, data as tenancy.LimitsSet) as { limits?: Json };
      return edit.merge('tenants', id, { limits: limits ?? [] });
    }
    case 'TenantRemoved':
      for (const kind of ['keys', 'users', 'projects'] as const) edit.dropAll(kind, `${id}/`);
      return edit.drop('tenants', id);
    case 'KeyIssued':
      return edit.put('keys', keyId, keyFields(data as tenancy.KeyIssued));
    case 'KeyRevoked':
      return edit.patch('keys', keyId, { revoked: true, revokeReason: reason });
    case 'KeyRotated': {
      const { keyHash, previousUntilMs } = data as tenancy.KeyRotated;
      return edit.patch('keys', keyId, { keyHash, previousUntilMs });
    }
    case 'ProjectRegistered': {
      const { projectId, displayName, source } = data as tenancy.ProjectRegistered;
      return edit.put('projects', `${id}/${projectId}`, { tenantId: id, displayName, source });
    }
    case 'ProjectRemoved':
      return edit.drop('projects', `${id}/${(data as tenancy.ProjectRemoved).projectId}`);
    case 'UserRegistered': {
      const { userId, projectId, displayName, source } = data as tenancy.UserRegistered;
      return edit.put('users', `${id}/${userId}`, { tenantId: id, projectId, displayName, source });
    }
    case 'UserRemoved':
      return edit.drop('users', `${id}/${(data as tenancy.UserRemoved).userId}`);
    case 'AdminKeyIssued': {
      const { keyId: adminKeyId, displayName, expiresAtMs, keyHash } = data as tenancy.AdminKeyIssued;
      const expires = expiresAtMs === 0 ? null : expiresAtMs;
      return edit.put('adminKeys', adminKeyId, { displayName, expiresAtMs: expires, keyHash, revoked: false });
    }
    case 'AdminKeyRevoked':
      return edit.patch('adminKeys', (data as tenancy.AdminKeyRevoked).keyId, { revoked: true, revokeReason: reason });
    case 'ConfigurationApplied': {
      const { contentHash, source, changes } = data as route.ConfigurationApplied;
      return edit.put('configurations', id, { contentHash, source, changes });
    }
    default:
      // A type of a newer writer says nothing about these fields.
      return undefined;
  }
}

/** Folds one accepted commit in place. Total: an event of an unknown type changes nothing. */
export function evolveFleet(state: FleetState, commit: DecodedCommit): FleetState {
  const { stored, payload, subject, events } = commit;
  const { seq, version, commitId } = stored;
  const of = state as Mutable;
  const place = { seq, version, commitId, atMs: payload.atMs, actor: payload.actor };
  const edit: Edit = {
    put: (kind, id, fields) => void of[kind].set(id, { id, ...place, fields }),
    patch: (kind, id, fields) => {
      const before = of[kind].get(id);
      if (before !== undefined) of[kind].set(id, { id, ...place, fields: { ...before.fields, ...fields } });
    },
    merge: (kind, id, fields) => {
      of[kind].set(id, { id, ...place, fields: { ...of[kind].get(id)?.fields, ...fields } });
    },
    drop: (kind, id) => void of[kind].delete(id),
    dropAll: (kind, prefix) => {
      for (const id of of[kind].keys()) if (id.startsWith(prefix)) of[kind].delete(id);
    },
  };
  for (const event of events) apply(event, subject.id, edit);
  return state;
}

/** The state as JSON: entries by id. */
export type StateJson = Readonly<Record<StateKind, readonly StateEntry[]>>;

export function stateJson(state: FleetState): StateJson {
  const list = (kind: StateKind): StateEntry[] =>
    [...state[kind].values()].sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0));
  return {
    replicas: list('replicas'),
    policies: list('policies'),
    modelRoutes: list('modelRoutes'),
    tenants: list('tenants'),
    projects: list('projects'),
    users: list('users'),
    keys: list('keys'),
    adminKeys: list('adminKeys'),
    configurations: list('configurations'),
  };
}

/** Raised when `evolveFleet` folds the same commits into something else: older snapshots are then thrown away. */
export const fleetFoldVersion = 4;

/** The state that `stateJson` told. @throws TypeError where it did not */
export function fleetStateFromJson(json: StateJson): FleetState {
  const map = (kind: StateKind): Map<string, StateEntry> => new Map(json[kind].map((entry) => [entry.id, entry]));
  return {
    replicas: map('replicas'),
    policies: map('policies'),
    modelRoutes: map('modelRoutes'),
    tenants: map('tenants'),
    projects: map('projects'),
    users: map('users'),
    keys: map('keys'),
    adminKeys: map('adminKeys'),
    configurations: map('configurations'),
  };
}
