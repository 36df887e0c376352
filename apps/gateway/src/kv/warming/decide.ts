import { fnv1a32, mix32 } from '#libs/kernel';
import type { Routability } from '../../fleet/fleet.ts';
import type { HotPrefix } from './hot-prefixes.ts';
import type { WarmingLimits } from './limits.ts';

/** What a replica is known to be when it is decided whether to warm it. */
export interface WarmingCandidate {
  readonly replicaId: string;
  readonly state: Routability;
  /** "new", "came-back", "cleared": why it may hold little. */
  readonly because: string;
  /** Since it came to be so. */
  readonly waitedMs: number;
  /** Somebody follows its KV events, or will. */
  readonly hasEvents: boolean;
  /** Blocks that it holds; undefined while that is not known exactly. */
  readonly heldBlocks: number | undefined;
  readonly blockTokens: number;
  readonly load: ReplicaLoad;
  readonly takesSalt: boolean;
}

export interface ReplicaLoad {
  /** Of clients, on all gateways. */
  readonly clientRequests: number;
  readonly waiting: number | undefined;
  readonly kvUse: number | undefined;
}

/** A prefix as the replica's index names it. */
export interface PrefixThere {
  readonly prefix: HotPrefix;
  /** Leading blocks that the replica holds of it, and all of it. */
  readonly heldBlocks: number;
  readonly blocks: number;
  /** 1 the adapter is in a slot there, 0 it is not, NaN unknown; 1 for the base model. */
  readonly adapterResident: number;
}

export type WarmingDecision =
  /** What it depends on is not known yet. */
  | { readonly kind: 'wait' }
  | { readonly kind: 'leave'; readonly why: string }
  | { readonly kind: 'warm'; readonly prefixes: readonly HotPrefix[]; readonly left: ReadonlyMap<string, number> };

/** Why a replica has no room for anything but its clients; undefined where it has. */
export function busyWith(
  { clientRequests, waiting = 0, kvUse = 0 }: ReplicaLoad,
  limits: WarmingLimits,
): string | undefined {
  if (waiting > 0) return 'waiting';
  if (clientRequests > limits.clientRequestsMax) return 'requests';
  return kvUse > limits.kvUseMax ? 'kv-use' : undefined;
}

/** Of gateways that have hot prefixes of a model, the one that warms a replica. Each of them finds the same. */
export function warmerOf(gatewayIds: Iterable<string>, replicaId: string): string {
  let first = '';
  let most = -1;
  for (const id of [...new Set(gatewayIds)].sort()) {
    const weight = mix32(fnv1a32(`${id}\n${replicaId}`)) >>> 0;
    if (weight > most) [first, most] = [id, weight];
  }
  return first;
}

/**
 * Which prefixes to compute on a replica before anybody asks for them. `known` are those of its model, worth most first; `there` says
 * of one what the replica holds of it, and is asked only where all else is known.
 */
export function decideWarming(
  candidate: WarmingCandidate,
  known: readonly HotPrefix[],
  there: (prefix: HotPrefix) => PrefixThere,
  limits: WarmingLimits,
): WarmingDecision {
  const { state, load, hasEvents, heldBlocks, waitedMs, because, blockTokens } = candidate;
  if (state !== 'ready') return { kind: 'leave', why: 'not-ready' };
  if (known.length === 0) return { kind: 'leave', why: 'nothing-hot' };
  const busy = busyWith(load, limits);
  if (busy !== undefined) return { kind: 'leave', why: `busy:${busy}` };
  if (hasEvents && heldBlocks === undefined && waitedMs < limits.indexWaitMsMax) return { kind: 'wait' };
  // One that was there before this gateway may hold anything.
  if (heldBlocks === undefined && because !== 'new') return { kind: 'leave', why: 'held-unknown' };
  const all = known.map(there);
  const blocks = all.reduce((sum, one) => sum + one.blocks, 0);
  if (heldBlocks !== undefined && heldBlocks > blocks) return { kind: 'leave', why: 'holds-more' };
  const left = new Map<string, number>();
  const leave = (why: string): false => {
    left.set(why, (left.get(why) ?? 0) + 1);
    return false;
  };
  let budget = limits.tokensPerReplicaMax;
  const prefixes = all.flatMap((one) => {
    const { prefix, adapterResident } = one;
    const wanted =
      blockTokens > 0 && prefix.tokens.length < blockTokens
        ? leave('shorter-than-a-block')
        : one.blocks > 0 && one.heldBlocks >= one.blocks
          ? leave('held')
          : adapterResident !== 1
            ? leave('adapter-not-there')
            : prefix.cacheSalt !== '' && !candidate.takesSalt
              ? leave('takes-no-salt')
              : prefix.tokens.length > budget
                ? leave('over-budget')
                : true;
    if (!wanted) return [];
    budget -= prefix.tokens.length;
    return [prefix];
  });
  if (prefixes.length === 0) return { kind: 'leave', why: 'nothing-missing' };
  return { kind: 'warm', prefixes, left };
}
