import type { z } from 'zod';
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

/** The annotation `model.aibrix.ai/config` as a policy for one model. @throws SyntaxError on invalid JSON. */
function policyOf(model: string, annotation: string): unknown {
  const given = JSON.parse(annotation) as AibrixProfiles;
  const profiles: Record<string, unknown> = {};
  for (const [name, profile] of Object.entries(given.profiles ?? {})) {
    profiles[name] = {
      strategy: profile.routingStrategy,
      requestsPerSecond: profile.requestsPerSecond ?? 0,
      routingConfig: profile.routingConfig ?? {},
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

/** What Lintel's own file would say. Keys are the gateway's business, so an AIBrix file is served without: `open`. */
export function fromAibrix(file: AibrixFile): LintelConfig {
  const replicas: Partial<ReplicaConfig>[] = [];
  const policies: PolicyConfig[] = [];
  for (const model of file.models) {
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
  }
  return configSchema.parse({ compat: 'aibrix', open: true, replicas, policies });
}
