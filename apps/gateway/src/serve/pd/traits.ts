import { route } from '#libs/contracts';
import { fnv1a32 } from '#libs/kernel';
import type { CandidateTable } from '#libs/scheduling';
import { columnIndex } from '#libs/scheduling';
import type { FleetReplica } from '../../fleet/fleet.ts';
import type { Connector, ConnectorName } from './connectors.ts';
import { connectors } from './connectors.ts';

const { EngineKind, ReplicaRole } = route;

/** Labels that say how a replica hands KV over. AIBrix's are read, too. */
export const pdLabels = {
  connector: 'lintel.kv-connector',
  bootstrapPort: 'lintel.kv-bootstrap-port',
  engineId: 'lintel.kv-engine-id',
  promptTokens: 'lintel.prompt-tokens',
} as const;
const aibrixConnector = 'model.aibrix.ai/kv-connector-type';
const aibrixBootstrapPort = 'model.aibrix.ai/sglang-bootstrap-port';
const bootstrapPortDefault = 8998;

/** As bits of the scheduler's column `roles`. */
const bit = { prefill: 1, decode: 2, whole: 4, wholeInNeed: 8 } as const;

/** What a replica is in a role set. */
export interface PdTraits {
  /** Its kind when these were read: an engine may be known only later. */
  readonly engine: route.EngineKind;
  readonly roles: number;
  /** The same for a request that cannot be handed over. */
  readonly rolesAlone: number;
  /** Hash of role set and connector: those of one can hand over to one another. */
  readonly group: number;
  readonly promptTokensMin: number;
  readonly promptTokensMax: number;
  readonly connector: Connector | undefined;
  readonly bootstrapPort: number;
  readonly engineId: string;
}

const byEngine: Partial<Record<route.EngineKind, ConnectorName>> = {
  [EngineKind.VLLM]: 'nixl',
  [EngineKind.SGLANG]: 'sglang',
  [EngineKind.TENSORRT_LLM]: 'tensorrt-llm',
};

function connectorOf({ labels, engine }: FleetReplica): Connector | undefined {
  const named = labels[pdLabels.connector] ?? labels[aibrixConnector];
  const name = named === 'shfs' ? 'shared-storage' : (named ?? byEngine[engine]);
  return name !== undefined && Object.hasOwn(connectors, name) ? connectors[name as ConnectorName] : undefined;
}

function rolesOf(role: route.ReplicaRole, connector: Connector | undefined, engineId: string): number {
  const able = connector !== undefined;
  switch (role) {
    case ReplicaRole.PREFILL: {
      const alone = connector?.decodesAlone === false ? 0 : bit.wholeInNeed;
      // The decode side could not be told whom to ask.
      const nameless = connector?.name === 'mooncake' && engineId === '';
      return alone | (able && !nameless ? bit.prefill : 0);
    }
    case ReplicaRole.DECODE:
      return able ? bit.decode | (connector.decodesAlone ? bit.whole : 0) : bit.whole;
    default:
      return bit.whole;
  }
}

/** "512-4096", "4096-", "-512". */
function boundsOf(text: string | undefined): readonly [number, number] {
  const [, least = '', most = ''] = /^(\d{0,9})-(\d{0,9})$/.exec(text ?? '') ?? [];
  return [Number(least), most === '' ? Infinity : Number(most)];
}

function read(replica: FleetReplica): PdTraits {
  const { labels, role, roleset, engine } = replica;
  const connector = connectorOf(replica);
  const engineId = labels[pdLabels.engineId] ?? '';
  const roles = rolesOf(role, connector, engineId);
  const [promptTokensMin, promptTokensMax] = boundsOf(labels[pdLabels.promptTokens]);
  const port = Number(labels[pdLabels.bootstrapPort] ?? labels[aibrixBootstrapPort]);
  return {
    engine,
    roles,
    rolesAlone: roles & ~(bit.prefill | bit.decode),
    group: fnv1a32(`${roleset}\n${connector?.name ?? ''}`),
    promptTokensMin,
    promptTokensMax,
    connector,
    bootstrapPort: port > 0 && port < 65_536 ? port : bootstrapPortDefault,
    engineId,
  };
}

const known = new WeakMap<FleetReplica, PdTraits>();

export function traitsOf(replica: FleetReplica): PdTraits {
  let traits = known.get(replica);
  if (traits === undefined || traits.engine !== replica.engine) known.set(replica, (traits = read(replica)));
  return traits;
}

const inRoleSet = ({ role }: FleetReplica): boolean => role === ReplicaRole.PREFILL || role === ReplicaRole.DECODE;

/** It answers a request that no other replica has a part in. */
export const answersAlone = (replica: FleetReplica): boolean =>
  !inRoleSet(replica) || (traitsOf(replica).roles & bit.whole) !== 0;

/** Some of these are there to compute prompts for others. */
export const hasPrefill = (replicas: readonly FleetReplica[]): boolean =>
  replicas.some(({ role }) => role === ReplicaRole.PREFILL);

/** Writes what a replica may do of a request. */
export function writeRoles(table: CandidateTable, row: number, replica: FleetReplica, splittable: boolean): void {
  const { roles, rolesAlone, group, promptTokensMin, promptTokensMax } = traitsOf(replica);
  table.put(row, columnIndex.roles, splittable ? roles : rolesAlone, 0);
  table.put(row, columnIndex.pairGroup, group, 0);
  table.put(row, columnIndex.promptTokensMin, promptTokensMin, 0);
  table.put(row, columnIndex.promptTokensMax, promptTokensMax, 0);
}
