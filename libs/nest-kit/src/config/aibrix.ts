import type { z } from 'zod';
import { handoverLabels } from './rolesets.ts';
import type { aibrixSchema, LintelConfig, PolicyConfig, ReplicaConfig } from './schema.ts';
import { configSchema, engineNames } from './schema.ts';

type AibrixFile = z.output<typeof aibrixSchema>;

const configAnnotation = 'model.aibrix.ai/config';

const slug = (text: string): string => text.replace(/[^A-Za-z0-9_-]+/g, '-').slice(0, 48);

interface AibrixProfiles {
  lockedRoutingStrategy?: string;
  defaultProfile?: string;
  profiles?: Record<
    string,
    { routingStrategy: string; requestsPerSecond?: number; routingConfig?: Record<string, unknown> }
  >;
}

/** Annotations that say how prefill hands over to decode. */
const handoverAnnotations = ['model.aibrix.ai/kv-connector-type', 'model.aibrix.ai/sglang-bootstrap-port'];

const hints = new Set(['promptTokensGte', 'promptTokensLt', 'maxTokensGte', 'maxTokensLt', 'ttftMs', 'tpotMs']);

/** What of a profile's routingConfig is for Lintel; the bucket of a role set stands with its replicas. */
const routingConfigOf = (given: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(given).filter(([name, value]) => hints.has(name) || typeof value === 'object'));

/** The lengths of prompts that the profile in force gives to its role sets: "0-2048". */
function bucketOf(annotation: string | undefined): string | undefined {
  if (annotation === undefined) return undefined;
  const { profiles = {}, defaultProfile } = JSON.parse(annotation) as AibrixProfiles;
  const config = (profiles[defaultProfile ?? ''] ?? Object.values(profiles)[0])?.routingConfig ?? {};
  const { promptLenBucketMinLength: min, promptLenBucketMaxLength: max } = config;
  if (typeof min !== 'number' && typeof max !== 'number') return undefined;
  // AIBrix's upper bound is in the bucket.
  return `${typeof min === 'number' ? min : 0}-${typeof max === 'number' ? max + 1 : ''}`;
}

/** The annotation `model.aibrix.ai/config` as a policy for one model. @throws SyntaxError on invalid JSON. */
function policyOf(model: string, annotation: string): unknown {
  const given = JSON.parse(annotation) as AibrixProfiles;
  const profiles: Record<string, unknown> = {};
  for (const [name, profile] of Object.entries(given.profiles ?? {})) {
    profiles[name] = {
      strategy: profile.routingStrategy,
      requestsPerSecond: profile.requestsPerSecond ?? 0,
      routingConfig: routingConfigOf(profile.routingConfig ?? {}),
    };
  }
  return {
    id: `model-${slug(model)}`,
    models: [model],
    lockedStrategy: given.lockedRoutingStrategy,
    defaultProfile: given.defaultProfile ?? Object.keys(profiles)[0] ?? 'default',
    profiles,
  };
}

/** Whoever names role sets wants them used, also by clients that name no strategy. */
const pdPolicy = (model: string): unknown => ({
  id: `model-${slug(model)}`,
  models: [model],
  profiles: { default: { strategy: 'pd' } },
});

/** What Lintel's own file would say. Keys are the gateway's business, so an AIBrix file is served without: `open`. */
export function fromAibrix(file: AibrixFile): LintelConfig {
  const replicas: Partial<ReplicaConfig>[] = [];
  const policies: PolicyConfig[] = [];
  for (const model of file.models) {
    const bucket = bucketOf(model.annotations[configAnnotation]);
    const handover = {
      ...(bucket === undefined ? {} : { [handoverLabels.promptTokens]: bucket }),
      ...Object.fromEntries(
        handoverAnnotations.flatMap((name) => {
          const value = model.annotations[name];
          return value === undefined ? [] : [[name, value]];
        }),
      ),
    };
    const engine = engineNames.find((name) => name === model.engine || name.replace('.', '') === model.engine);
    const add = (endpoint: string, role: ReplicaConfig['role'], roleset: string): void => {
      replicas.push({
        id: slug(`${model.name}-${role === 'combined' ? '' : `${role}-`}${endpoint}`),
        url: `http://${endpoint}`,
        ...(engine === undefined ? {} : { engine }),
        models: [model.name],
        role,
        roleset,
        labels: {
          'model.aibrix.ai/name': model.name,
          ...(model.engine ? { 'model.aibrix.ai/engine': model.engine } : {}),
          ...(role === 'combined' ? {} : handover),
        },
      });
    };
    for (const endpoint of model.endpoints ?? []) add(endpoint, 'combined', '');
    for (const { name, prefill, decode } of model.rolesets ?? []) {
      for (const endpoint of prefill) add(endpoint, 'prefill', name);
      for (const endpoint of decode) add(endpoint, 'decode', name);
    }
    const annotation = model.annotations[configAnnotation];
    if (annotation !== undefined) policies.push(policyOf(model.name, annotation) as PolicyConfig);
    else if (model.rolesets !== undefined) policies.push(pdPolicy(model.name) as PolicyConfig);
  }
  return configSchema.parse({ compat: 'aibrix', open: true, replicas, policies });
}
