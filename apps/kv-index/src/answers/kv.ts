import { media } from '#libs/prefix-index';
import { CodedError } from '#libs/kernel';
import type { Core } from '../core.ts';
import { limits } from '../limits.ts';

/** Where one replica's cache stands. */
export interface ReplicaKv {
  readonly replica: string;
  readonly models: readonly string[];
  readonly endpoint: string;
  readonly exact: boolean;
  /** Since whoever follows it was heard; null before the first word. */
  readonly ageMs: number | null;
  /** Who follows it; '' nobody yet. */
  readonly follower: string;
  /** The engine's sequence expected next. */
  readonly next: number | null;
  readonly blockTokens: number;
  readonly blocks: number;
  readonly deviceBlocks: number;
  readonly hostBlocks: number;
  readonly storageBlocks: number;
  /** Held by no other replica, on any medium: lost with it. */
  readonly onlyThere: number;
}

export interface ReplicasAnswer {
  readonly blocks: number;
  readonly holdings: number;
  readonly bytes: number;
  readonly replicas: readonly ReplicaKv[];
}

export interface HotBlock {
  /** Local hash of the block, which stands for all tokens up to its end. */
  readonly hash: string;
  readonly replicas: readonly string[];
}

export interface TopAnswer {
  readonly seen: number;
  readonly blocks: readonly HotBlock[];
}

export interface BlockPlace {
  readonly replica: string;
  readonly rank: number;
  readonly medium: string;
  readonly group: number;
}

export interface BlockAnswer {
  readonly hash: string;
  readonly places: readonly BlockPlace[];
}

const mediumNames: Readonly<Record<number, string>> = {
  [media.gpu]: 'device',
  [media.cpu]: 'host',
  [media.storage]: 'storage',
};

interface Held {
  readonly device: number;
  readonly host: number;
  readonly storage: number;
  /** Distinct blocks by row. */
  readonly rows: ReadonlySet<number>;
}

function heldBy(core: Core, replicaId: string): Held {
  const counts = [0, 0, 0];
  const rows = new Set<number>();
  for (const { holder } of core.engines.fold.replicas.get(replicaId)?.ranks.values() ?? []) {
    holder.holdings.forEach((_low, _high, tag, row) => {
      counts[tag & 3]!++;
      rows.add(row);
    });
  }
  const [device = 0, host = 0, storage = 0] = counts;
  return { device, host, storage, rows };
}

/** How many replicas have each row. */
function holdersByRow(core: Core): { byReplica: ReadonlyMap<string, Held>; count: ReadonlyMap<number, number> } {
  const byReplica = new Map<string, Held>();
  const count = new Map<number, number>();
  for (const replicaId of core.engines.fold.replicas.keys()) {
    const held = heldBy(core, replicaId);
    byReplica.set(replicaId, held);
    for (const row of held.rows) count.set(row, (count.get(row) ?? 0) + 1);
  }
  return { byReplica, count };
}

/** What each replica holds, and what of it nobody else has. */
export function showReplicas(core: Core, only?: string): ReplicasAnswer {
  const { engines, environment } = core;
  const { fold } = engines;
  const nowMs = environment.clock.monotonicMs();
  const { byReplica, count } = holdersByRow(core);
  if (only !== undefined && !engines.followers.has(only)) {
    throw new CodedError('KV_REPLICA_UNKNOWN', `${only} has no KV events that are followed`, {
      advice: 'lintel kv top lists those that have; kvEvents: {} in lintel.yaml says that a replica has them.',
    });
  }
  const replicas = [...engines.followers.values()]
    .filter(({ replicaId }) => only === undefined || replicaId === only)
    .map(({ replicaId, source }): ReplicaKv => {
      const view = fold.replicas.get(replicaId);
      const rank = view?.ranks.values().next().value;
      const held = byReplica.get(replicaId);
      const ageMs = fold.ageMs(replicaId, nowMs);
      let onlyThere = 0;
      for (const row of held?.rows ?? []) if (count.get(row) === 1) onlyThere++;
      return {
        replica: replicaId,
        models: engines.registrations.get(replicaId)?.models ?? [],
        endpoint: source.endpoint,
        exact: fold.exact(replicaId, nowMs),
        ageMs: Number.isNaN(ageMs) ? null : Math.round(ageMs),
        follower: view?.writer ?? '',
        next: rank?.next ?? null,
        blockTokens: rank?.holder.blockSize ?? 0,
        blocks: held?.rows.size ?? 0,
        deviceBlocks: held?.device ?? 0,
        hostBlocks: held?.host ?? 0,
        storageBlocks: held?.storage ?? 0,
        onlyThere,
      };
    });
  const { size, holdings, bytes } = fold.index;
  return { blocks: size, holdings, bytes, replicas };
}

/** Blocks that most replicas have: what is shared by many prompts. */
export function topBlocks(core: Core, limit: number): TopAnswer {
  const { byReplica, count } = holdersByRow(core);
  const { index } = core.engines.fold;
  const rows = [...count]
    .sort(([rowA, a], [rowB, b]) => b - a || rowA - rowB)
    .slice(0, Math.min(limit, limits.listMax));
  const blocks = rows.map(([row]) => ({
    hash: hashText(index.hashAt(row)),
    replicas: [...byReplica].filter(([, { rows: own }]) => own.has(row)).map(([replicaId]) => replicaId),
  }));
  return { seen: count.size, blocks };
}

/** Who has one block, and on what. @throws BAD_REQUEST */
export function whyBlock(core: Core, hash: string): BlockAnswer {
  if (!/^[0-9a-f]{1,14}$/i.test(hash)) {
    throw new CodedError('BAD_REQUEST', `${JSON.stringify(hash.slice(0, 40))} is no local hash of a block`, {
      advice: 'lintel kv top names some: 14 hex digits.',
    });
  }
  const places = core.engines.fold.index.where(Number.parseInt(hash, 16)).map(({ replicaId, rank, medium, group }) => ({
    replica: replicaId,
    rank,
    medium: typeof medium === 'string' ? medium : (mediumNames[medium] ?? ''),
    group,
  }));
  return { hash, places };
}

const hashText = (hash: number): string => hash.toString(16).padStart(14, '0');
