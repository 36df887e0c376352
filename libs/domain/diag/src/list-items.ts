import type { KeyItem, LimitItem, PolicyItem, ReplicaItem, RequestItem, TenantItem } from './answers.ts';
import { costState } from './explain-cost.ts';
import type { RequestExplanation } from './explain-request.ts';
import type { FleetState, StateEntry } from './fleet-state.ts';

export type ListedState = Pick<FleetState, 'replicas' | 'policies' | 'tenants' | 'keys'>;

const byId = (entries: ReadonlyMap<string, StateEntry>): StateEntry[] =>
  [...entries.values()].sort((a, b) => (a.id < b.id ? -1 : 1));

const text = ({ fields }: StateEntry, name: string): string => String(fields[name] ?? '');
const textOrNull = ({ fields }: StateEntry, name: string): string | null =>
  fields[name] === undefined || fields[name] === '' ? null : String(fields[name]);
const texts = ({ fields }: StateEntry, name: string): string[] => ((fields[name] ?? []) as string[]).map(String);

/** Replicas as the log says they are. */
export function replicaItems({ replicas }: ListedState): ReplicaItem[] {
  return byId(replicas).map((entry) => ({
    replicaId: entry.id,
    url: text(entry, 'url'),
    engine: text(entry, 'engine'),
    models: texts(entry, 'models'),
    role: text(entry, 'role'),
    roleset: text(entry, 'roleset'),
    labels: (entry.fields['labels'] ?? {}) as Record<string, string>,
    source: text(entry, 'source'),
    draining: entry.fields['draining'] === true,
    drainReason: textOrNull(entry, 'drainReason'),
    ejected: entry.fields['ejected'] === true,
    ejectReason: textOrNull(entry, 'ejectReason'),
    seq: entry.seq,
    version: entry.version,
    commitId: entry.commitId,
    live: null,
  }));
}

interface ProfileJson {
  readonly name?: string;
  readonly strategy?: string;
  readonly requestsPerSecond?: number;
}

/** Policies in force. */
export function policyItems({ policies }: ListedState): PolicyItem[] {
  return byId(policies).map((entry) => ({
    policyId: entry.id,
    version: entry.version,
    models: texts(entry, 'models'),
    lockedStrategy: text(entry, 'lockedStrategy'),
    defaultProfile: text(entry, 'defaultProfile'),
    profiles: ((entry.fields['profiles'] ?? []) as unknown as ProfileJson[]).map(
      ({ name = '', strategy = '', requestsPerSecond = 0 }) => ({ name, strategy, requestsPerSecond }),
    ),
    source: text(entry, 'source'),
    seq: entry.seq,
    commitId: entry.commitId,
  }));
}

function keyItem(entry: StateEntry): KeyItem {
  return {
    keyId: entry.id.slice(entry.id.indexOf('/') + 1),
    displayName: text(entry, 'displayName'),
    models: texts(entry, 'models'),
    expiresAtMs: (entry.fields['expiresAtMs'] ?? null) as number | null,
    revoked: entry.fields['revoked'] === true,
    revokeReason: textOrNull(entry, 'revokeReason'),
    seq: entry.seq,
  };
}

interface LimitJson {
  readonly limitId?: string;
  readonly keyId?: string;
  readonly models?: string[];
  readonly perKey?: boolean;
  readonly perUser?: boolean;
  readonly perModel?: boolean;
  readonly metric?: string;
  readonly windowMs?: number;
  readonly amount?: number;
}

/** A tenant's limits; none of one that is not there. */
export function limitItems(tenant: StateEntry | undefined): LimitItem[] {
  return ((tenant?.fields['limits'] ?? []) as unknown as LimitJson[]).map((limit) => {
    const { limitId = '', keyId = '', models = [], metric = '', windowMs = 0, amount = 0 } = limit;
    const per = (['key', 'user', 'model'] as const).filter(
      (_part, index) => [limit.perKey, limit.perUser, limit.perModel][index] === true,
    );
    const plain = metric.replace('LIMIT_METRIC_', '').toLowerCase();
    return { limitId, keyId, models, per, metric: plain, windowMs, amount };
  });
}

/** Tenants with their keys; of a key never more than its name. */
export function tenantItems({ tenants, keys }: ListedState): TenantItem[] {
  const byTenant = new Map<string, KeyItem[]>();
  for (const entry of byId(keys)) {
    const tenantId = text(entry, 'tenantId');
    byTenant.set(tenantId, [...(byTenant.get(tenantId) ?? []), keyItem(entry)]);
  }
  return byId(tenants).map((entry) => ({
    tenantId: entry.id,
    displayName: text(entry, 'displayName'),
    source: text(entry, 'source'),
    seq: entry.seq,
    version: entry.version,
    commitId: entry.commitId,
    keys: byTenant.get(entry.id) ?? [],
    limits: limitItems(entry),
  }));
}

/** A request as one line of a list. */
export function requestItem(request: RequestExplanation): RequestItem {
  const pick = request.picks.at(-1);
  const { usage, timings } = request;
  const tokens = (name: string): number | null => (usage === null ? null : ((usage[name] ?? null) as number | null));
  return {
    requestId: request.requestId,
    receivedAtMs: request.receivedAtMs,
    gatewayId: request.gatewayId,
    tenantId: request.tenantId,
    keyId: request.keyId,
    endpoint: request.endpoint,
    model: request.model,
    stream: request.stream,
    strategy: pick?.strategy ?? null,
    policyId: pick?.policyId ?? null,
    policyVersion: pick?.policyVersion ?? null,
    replicaId: request.answeredBy,
    outcome: request.outcome,
    httpStatus: request.httpStatus,
    errorCode: request.errorCode,
    attempts: request.attempts.length,
    ttftMs: timings['firstByteMs'] ?? null,
    tpotMs: timings['tpotMs'] ?? null,
    totalMs: timings['totalMs'] ?? null,
    promptTokens: tokens('promptTokens'),
    completionTokens: tokens('completionTokens'),
    cachedTokens: usage?.['fromEngine'] === true ? tokens('cachedTokens') : null,
    cost:
      request.cost?.state ??
      costState({
        costNano: null,
        counted: usage !== null,
        answered: request.answeredBy !== null,
        outcome: request.outcome,
      }),
    costNano: request.cost?.nano ?? null,
    currency: request.cost?.currency ?? '',
  };
}
