import type { MessageInitShape } from '@bufbuild/protobuf';
import { route, type tenancy } from '#libs/contracts';
import { fnv1a32 } from '#libs/kernel';
import type { DesiredLimit } from './desired-limits.ts';
import { tenantLimits } from './desired-limits.ts';
import type { DesiredPricesConfig } from './desired-prices.ts';
import { desiredPrices } from './desired-prices.ts';
import { modelRoute } from './model-route-schema.ts';
import { providerReplica } from './provider-schema.ts';
import { allReplicas } from './rolesets.ts';
import type { LintelConfig, PolicyConfig, ReplicaConfig, TenantConfig } from './schema.ts';

/** What a configuration asks for, in the words of the contracts. The gateway turns the difference into commits. */
export interface DesiredConfiguration {
  readonly replicas: readonly MessageInitShape<typeof route.ReplicaRegisteredSchema>[];
  readonly policies: readonly MessageInitShape<typeof route.RoutingPolicySchema>[];
  readonly tenants: readonly DesiredTenantConfig[];
  readonly prices?: DesiredPricesConfig | undefined;
  /** None where it is not given. */
  readonly modelRoutes?: readonly MessageInitShape<typeof route.ModelRouteSchema>[] | undefined;
}

export interface DesiredKeyConfig extends Omit<
  MessageInitShape<typeof tenancy.KeyIssuedSchema>,
  'tenantId' | '$typeName'
> {
  readonly previousUntilMs?: number;
}

export interface DesiredTenantConfig {
  readonly tenantId: string;
  readonly displayName: string;
  readonly cacheSalt?: boolean;
  readonly warm?: boolean;
  readonly projects?: readonly { readonly projectId: string; readonly displayName: string }[];
  readonly users?: readonly { readonly userId: string; readonly projectId: string; readonly displayName: string }[];
  readonly keys: readonly DesiredKeyConfig[];
  /** None where it is not given. */
  readonly limits?: readonly DesiredLimit[] | undefined;
}

const engineKinds: Record<NonNullable<ReplicaConfig['engine']>, route.EngineKind> = {
  vllm: route.EngineKind.VLLM,
  sglang: route.EngineKind.SGLANG,
  'llama.cpp': route.EngineKind.LLAMA_CPP,
  'tensorrt-llm': route.EngineKind.TENSORRT_LLM,
  openai: route.EngineKind.OPENAI,
};

const roles: Record<ReplicaConfig['role'], route.ReplicaRole> = {
  combined: route.ReplicaRole.COMBINED,
  prefill: route.ReplicaRole.PREFILL,
  decode: route.ReplicaRole.DECODE,
};

/** A name that stays the same for the same address, so that a restart finds the same replica. */
function idOf(url: string): string {
  const { hostname, port } = new URL(url);
  const readable = `${hostname}-${port}`.replace(/[^A-Za-z0-9_-]+/g, '-').slice(0, 48);
  return `${readable}-${fnv1a32(url).toString(16).padStart(8, '0')}`;
}

const replicaTls = ({ ca = '', cert = '', key = '', serverName = '' }: NonNullable<ReplicaConfig['tls']>) => ({
  ca,
  cert,
  key,
  serverName,
});

/** As labels, so that a replica that somebody else registers can say it as well. */
function labelsOf({ labels, kvEvents }: ReplicaConfig): Record<string, string> {
  if (kvEvents === undefined) return labels;
  const { endpoint = 'on', replay, blockTokens } = kvEvents;
  return {
    ...labels,
    'lintel.kv-events': endpoint,
    ...(replay === undefined ? {} : { 'lintel.kv-events-replay': replay }),
    ...(blockTokens === undefined ? {} : { 'lintel.kv-block-tokens': String(blockTokens) }),
  };
}

function replica(given: ReplicaConfig, source: string): DesiredConfiguration['replicas'][number] {
  return {
    replicaId: given.id ?? idOf(given.url),
    url: new URL(given.url).origin,
    engine: given.engine === undefined ? route.EngineKind.UNSPECIFIED : engineKinds[given.engine],
    models: given.models,
    role: roles[given.role],
    roleset: given.roleset,
    labels: labelsOf(given),
    source,
    metricsUrl: given.metricsUrl ?? '',
    credentialRef: given.credential ?? '',
    ...(given.tls === undefined ? {} : { tls: replicaTls(given.tls) }),
  };
}

type DesiredReplica = DesiredConfiguration['replicas'][number];

/** One replica for each data-parallel rank behind its server. */
function ranksOf(given: DesiredReplica, size: number | undefined): DesiredReplica[] {
  if (size === undefined) return [given];
  return Array.from({ length: size }, (_, rank) => ({
    ...given,
    replicaId: `${given.replicaId}-dp${rank}`,
    dataParallelSize: size,
    dataParallelRank: rank,
  }));
}

function policy(given: PolicyConfig): DesiredConfiguration['policies'][number] {
  return {
    policyId: given.id,
    models: given.models,
    lockedStrategy: given.lockedStrategy ?? '',
    defaultProfile: given.defaultProfile,
    profiles: Object.entries(given.profiles).map(([name, profile]) => ({
      name,
      strategy: profile.strategy,
      requestsPerSecond: profile.requestsPerSecond,
      routingConfig: profile.routingConfig,
    })),
  };
}

/** A key of a user is of the user's project, where it names none. */
const projectOf = ({ users }: TenantConfig, { project, user }: TenantConfig['keys'][number]): string =>
  project ?? users.find(({ id }) => id === user)?.project ?? '';

function tenant(given: TenantConfig): DesiredTenantConfig {
  return {
    tenantId: given.id,
    displayName: given.name,
    ...(given.cacheSalt ? { cacheSalt: true } : {}),
    ...(given.warm ? { warm: true } : {}),
    keys: given.keys.map((key) => ({
      keyId: key.id,
      keyHash: key.sha256,
      displayName: key.name,
      models: key.models,
      expiresAtMs: key.expires === undefined ? 0 : Date.parse(key.expires),
      projectId: projectOf(given, key),
      userId: key.user ?? '',
      endpoints: key.endpoints,
      ...(key.priority === undefined ? {} : { priority: key.priority }),
      ...(key.previousUntil === undefined ? {} : { previousUntilMs: Date.parse(key.previousUntil) }),
    })),
    projects: given.projects.map((project) => ({ projectId: project.id, displayName: project.name })),
    users: given.users.map((user) => ({ userId: user.id, projectId: user.project ?? '', displayName: user.name })),
    limits: tenantLimits(given).map(({ limit }) => limit),
  };
}

/** `source` stands in the events: "config:lintel.yaml", "flag". */
export function desiredOf(config: LintelConfig, source: string): DesiredConfiguration {
  return {
    replicas: [
      ...allReplicas(config).flatMap((given) => ranksOf(replica(given, source), given.dataParallel)),
      ...config.providers.map((given) => providerReplica(given, source)),
    ],
    policies: config.policies.map(policy),
    tenants: config.tenants.map(tenant),
    prices: desiredPrices(config.prices),
    modelRoutes: config.modelRoutes.map(modelRoute),
  };
}
