import type { LintelConfig, ReplicaConfig, RolesetConfig } from './schema.ts';

/** Labels that say how a replica hands KV over; the gateway reads them. */
export const handoverLabels = {
  connector: 'lintel.kv-connector',
  bootstrapPort: 'lintel.kv-bootstrap-port',
  engineId: 'lintel.kv-engine-id',
  promptTokens: 'lintel.prompt-tokens',
} as const;

type Member = RolesetConfig['prefill'][number];

function replicaOf(set: RolesetConfig, role: 'prefill' | 'decode', given: Member): ReplicaConfig {
  const { bootstrapPort, engineId, labels, ...rest } = given;
  const { connector, promptTokens, engine, models, name } = set;
  return {
    ...rest,
    ...(engine === undefined ? {} : { engine }),
    models,
    role,
    roleset: name,
    labels: {
      ...(connector === undefined ? {} : { [handoverLabels.connector]: connector }),
      ...(bootstrapPort === undefined ? {} : { [handoverLabels.bootstrapPort]: String(bootstrapPort) }),
      ...(engineId === undefined ? {} : { [handoverLabels.engineId]: engineId }),
      ...(promptTokens === undefined
        ? {}
        : { [handoverLabels.promptTokens]: `${promptTokens.min}-${promptTokens.max ?? ''}` }),
      ...labels,
    },
  };
}

/** The replicas of a role set, as they would stand under `replicas`. */
const rolesetReplicas = (set: RolesetConfig): ReplicaConfig[] => [
  ...set.prefill.map((given) => replicaOf(set, 'prefill', given)),
  ...set.decode.map((given) => replicaOf(set, 'decode', given)),
];

/** All replicas that a document names, by themselves or in role sets. */
export const allReplicas = ({ replicas, rolesets }: LintelConfig): ReplicaConfig[] => [
  ...replicas,
  ...rolesets.flatMap(rolesetReplicas),
];
