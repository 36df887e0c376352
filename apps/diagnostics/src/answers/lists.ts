import { route } from '#libs/contracts';
import type {
  FleetState,
  ModelRouteItem,
  ListAnswer,
  PolicyItem,
  ReplicaItem,
  ReplicaLive,
  RequestItem,
  TenantItem,
} from '#libs/domain/diag';
import {
  enumName,
  costState,
  explainRequest,
  known,
  modelRouteItems,
  policyItems,
  replicaItems,
  requestItem,
  limitItems,
  tenantItems,
} from '#libs/domain/diag';
import { errorText } from '#libs/kernel';
import type { KeyRow, PolicyRow, ReplicaRow, RequestSummary } from '#libs/projections-postgres';
import type { Core } from '../core.ts';
import type { Readers } from '../loops/projector.ts';
import { limits } from '../limits.ts';
import { newestRecords } from './read-frames.ts';

export interface ListQuery {
  /** The answer holds everything up to this sequence. */
  readonly minSeq: number;
  /** How long it waits for that. */
  readonly waitMs: number;
}

export interface RequestQuery {
  readonly limit: number;
  readonly model?: string | undefined;
  readonly tenant?: string | undefined;
  readonly outcome?: string | undefined;
  readonly replica?: string | undefined;
  readonly sinceMs?: number | undefined;
  readonly untilMs?: number | undefined;
  readonly afterId?: string | undefined;
}

/** Rows where Postgres has them up to `minSeq`, else the fold of the log in memory; the note says why. */
async function fromRowsOrFold<Item>(
  core: Core,
  { minSeq, waitMs }: ListQuery,
  projection: string,
  fromRows: (readers: Readers) => Promise<Item[]>,
  fromFold: (state: FleetState) => Item[],
): Promise<ListAnswer<Item>> {
  const { durability } = core.broker;
  const { readers, why } = core.projector;
  let note = why;
  if (readers !== undefined) {
    try {
      const reached =
        minSeq === 0 || (await readers.checkpoints.waitFor(projection, minSeq, Math.min(waitMs, limits.rowsWaitMsMax)));
      const checkpoint = await readers.checkpoints.live(projection);
      if (reached && checkpoint !== undefined && !checkpoint.stale) {
        return { durability, atSeq: checkpoint.seq, items: await fromRows(readers) };
      }
      note = checkpoint?.stale === true ? `the rows are stale (${checkpoint.state})` : 'the rows are behind';
    } catch (thrown) {
      note = `Postgres could not answer: ${errorText(thrown)}`;
    }
  }
  const { state, seq } = await core.fold.at(minSeq, waitMs);
  const away = core.fold.health();
  const asOf = away.state === 'up' ? '' : `, as of ${seq}: the log is ${away.detail ?? 'away'}`;
  return { durability, atSeq: seq, items: fromFold(state.fleet), note: `${note}: told from the log in memory${asOf}` };
}

export async function listReplicas(core: Core, query: ListQuery): Promise<ListAnswer<ReplicaItem>> {
  const [answer, live] = await Promise.all([
    fromRowsOrFold(
      core,
      query,
      'replicas',
      async ({ replicas }) => (await replicas.list()).map(replicaOfRow),
      replicaItems,
    ),
    liveView(core),
  ]);
  if (typeof live === 'string') return withNote(answer, live);
  return {
    ...answer,
    items: answer.items.map((item) => {
      const seen = live.get(item.replicaId);
      if (seen === undefined) return { ...item, live: null };
      // Where nobody named the engine, the gateway has asked it.
      const engine = item.engine === unspecified ? seen.engine : item.engine;
      return { ...item, engine, live: seen.live };
    }),
  };
}

export interface PoliciesAnswer extends ListAnswer<PolicyItem> {
  /** What names of models lead to: as the log says, rows hold none. */
  readonly modelRoutes: readonly ModelRouteItem[];
}

export async function listPolicies(core: Core, query: ListQuery): Promise<PoliciesAnswer> {
  const rows = async ({ policies }: Readers): Promise<PolicyItem[]> => (await policies.list()).map(policyOfRow);
  const answer = await fromRowsOrFold(core, query, 'configuration', rows, policyItems);
  const { fleet } = (await core.fold.at()).state;
  return { ...answer, modelRoutes: modelRouteItems(fleet) };
}

export async function listTenants(core: Core, query: ListQuery): Promise<ListAnswer<TenantItem>> {
  const rows = async ({ tenants }: Readers): Promise<TenantItem[]> => {
    const [list, keys] = [await tenants.list(), await tenants.keys()];
    // Rows hold no limits: what the log says of them now.
    const { fleet } = (await core.fold.at()).state;
    return list.map((row) => ({
      tenantId: row.tenantId,
      displayName: row.displayName ?? '',
      source: row.source ?? '',
      seq: row.seq,
      version: row.version,
      commitId: row.commitId,
      keys: keys.filter(({ tenantId }) => tenantId === row.tenantId).map(keyOfRow),
      limits: limitItems(fleet.tenants.get(row.tenantId)),
    }));
  };
  return await fromRowsOrFold(core, query, 'configuration', rows, tenantItems);
}

/** Newest first. `atSeq` is of the stream of frames. */
export async function listRequests(core: Core, query: RequestQuery): Promise<ListAnswer<RequestItem>> {
  const { durability, frames } = core.broker;
  const { readers } = core.projector;
  let note: string = core.projector.why;
  if (readers !== undefined) {
    try {
      const checkpoint = await readers.checkpoints.live('requests');
      const items = (await readers.requests.list(rowQuery(query))).map(requestOfRow);
      const stale = checkpoint?.stale === true ? { note: `the rows are stale (${checkpoint.state})` } : {};
      return { durability, atSeq: checkpoint?.seq ?? 0, items, ...stale };
    } catch (thrown) {
      note = `Postgres could not answer: ${errorText(thrown)}`;
    }
  }
  const atSeq = await frames.lastSeq();
  const found = await newestRecords(frames, query.limit, (record) => {
    const { model, tenant, sinceMs = -Infinity, untilMs = Infinity } = query;
    if (model !== undefined && record.model !== model) return false;
    if (tenant !== undefined && record.tenantId !== tenant) return false;
    return record.receivedAtMs >= sinceMs && record.receivedAtMs < untilMs;
  });
  const items = found
    .map(({ frame, record }) => requestItem(explainRequest(frame, record)))
    .filter(({ outcome, replicaId }) => {
      if (query.outcome !== undefined && outcome !== query.outcome) return false;
      return query.replica === undefined || replicaId === query.replica;
    });
  return { durability, atSeq, items, note: `${note}: told from the newest frames` };
}

function rowQuery(query: RequestQuery): Parameters<Readers['requests']['list']>[0] {
  return Object.fromEntries(Object.entries(query).filter(([, value]) => value !== undefined));
}

function withNote<Item>(answer: ListAnswer<Item>, note: string): ListAnswer<Item> {
  return { ...answer, note: answer.note === undefined ? note : `${answer.note}; ${note}` };
}

interface SeenReplica {
  /** As registered or as detected. */
  readonly engine: string;
  readonly live: ReplicaLive;
}

const engineName = (kind: route.EngineKind): string => enumName(route.EngineKindSchema, kind);
const unspecified = engineName(route.EngineKind.UNSPECIFIED);

/** What the gateway last saw of each replica; a sentence where it could not be asked. */
async function liveView(core: Core): Promise<ReadonlyMap<string, SeenReplica> | string> {
  try {
    const { replicas } = await core.client.send('route.ListReplicas', {}, { deadlineMs: limits.liveViewMsMax });
    return new Map(
      replicas.map((view) => [
        view.registration?.replicaId ?? '',
        {
          engine: engineName(view.registration?.engine ?? route.EngineKind.UNSPECIFIED),
          live: {
            healthy: view.healthy,
            circuit: view.circuit,
            healthAgeMs: known(view.healthAgeMs),
            servedModels: view.servedModels,
            values: Object.fromEntries(Object.entries(view.values).map(([name, value]) => [name, known(value)])),
            valuesAgeMs: known(view.valuesAgeMs),
            lastError: view.lastError,
          },
        },
      ]),
    );
  } catch (thrown) {
    return `health and load are unknown: ${errorText(thrown)}`;
  }
}

function replicaOfRow(row: ReplicaRow): ReplicaItem {
  return {
    replicaId: row.replicaId,
    url: row.url,
    engine: row.engine,
    models: row.models,
    role: row.role,
    roleset: row.roleset,
    labels: row.labels,
    source: row.source,
    draining: row.draining,
    drainReason: row.drainReason,
    ejected: row.ejected,
    ejectReason: row.ejectReason,
    seq: row.seq,
    version: row.version,
    commitId: row.commitId,
    live: null,
  };
}

function policyOfRow(row: PolicyRow): PolicyItem {
  const { profiles = [] } = (row.policy ?? {}) as { profiles?: Partial<PolicyItem['profiles'][number]>[] };
  return {
    policyId: row.policyId,
    version: row.version,
    models: row.models ?? [],
    lockedStrategy: row.lockedStrategy ?? '',
    defaultProfile: row.defaultProfile ?? '',
    profiles: profiles.map(({ name = '', strategy = '', requestsPerSecond = 0 }) => ({
      name,
      strategy,
      requestsPerSecond,
    })),
    source: row.source ?? '',
    seq: row.seq,
    commitId: row.commitId,
  };
}

function keyOfRow(row: KeyRow): TenantItem['keys'][number] {
  const { keyId, displayName, models, expiresAtMs, revoked, revokeReason, seq } = row;
  return { keyId, displayName, models, expiresAtMs, revoked, revokeReason, seq };
}

function requestOfRow(row: RequestSummary): RequestItem {
  return {
    requestId: row.requestId,
    receivedAtMs: row.receivedAtMs,
    gatewayId: row.gatewayId,
    tenantId: row.tenantId,
    keyId: row.keyId,
    endpoint: row.endpoint,
    model: row.model,
    stream: row.stream,
    strategy: row.strategy,
    policyId: row.policyId,
    policyVersion: row.policyVersion,
    replicaId: row.replicaId,
    outcome: row.outcome,
    httpStatus: row.httpStatus,
    errorCode: row.errorCode,
    attempts: row.attempts,
    ttftMs: row.ttftMs,
    tpotMs: row.tpotMs,
    totalMs: row.totalMs,
    promptTokens: row.promptTokens,
    completionTokens: row.completionTokens,
    cachedTokens: row.cachedTokens,
    cost: costState({
      costNano: row.costNano,
      counted: row.promptTokens !== null,
      answered: row.replicaId !== null,
      outcome: row.outcome,
    }),
    costNano: row.costNano,
    currency: row.costNano === null ? '' : row.currency,
  };
}
