import { create } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import type { PipelineSpec } from '#libs/scheduling';
import { canonicalJson, pipelineHash, resolveStrategy } from '#libs/scheduling';
import type { FlowProfile } from './flow-profile.ts';
import type { ContinuationProfile, HedgeProfile } from './stream-profiles.ts';
import type { RoutingConfig, TokenCounts } from './routing-config.ts';
import { compareHints, hintsMatch, parseRoutingConfig } from './routing-config.ts';
import type { PolicyInForce, RouteState } from './state.ts';

export const defaultStrategy = 'lintel';

/** In force where configuration says nothing of a model. */
export const builtInPolicy: PolicyInForce = {
  policy: create(route.RoutingPolicySchema, { policyId: 'built-in', models: ['*'] }),
  source: 'default',
  version: 0,
  seq: 0,
  commitId: '',
};

/** The policy that governs a model: its own, that of "*", or the built-in one. */
export function selectPolicy(state: RouteState, model: string): PolicyInForce {
  return state.policyByModel.get(model) ?? state.policyByModel.get('*') ?? builtInPolicy;
}

/** What a client asks for by header; '' and undefined are not said. */
export interface RoutingHeaders {
  readonly routingStrategy?: string | undefined;
  /** A profile's name, or "auto". */
  readonly configProfile?: string | undefined;
}

/** How to route one request, with what its record says of it. One object for each (policy version, profile, strategy). */
export interface ResolvedProfile {
  /** '' where the policy has no profile. */
  readonly profile: string;
  readonly strategy: string;
  /** Who chose the strategy. */
  readonly chosenBy: 'lock' | 'header' | 'profile' | 'default';
  /** 0 is no limit. */
  readonly requestsPerSecond: number;
  readonly spec: PipelineSpec;
  /** Undefined: its requests do not wait. */
  readonly flow: FlowProfile | undefined;
  /** Undefined: its requests are not hedged. */
  readonly hedge: HedgeProfile | undefined;
  /** Undefined: its streams are not continued. */
  readonly continuation: ContinuationProfile | undefined;
  /** Fields of lintel.route.v1.Pipeline. */
  readonly pipeline: {
    readonly hash: string;
    readonly json: string;
    readonly strategy: string;
    readonly policyId: string;
    readonly policyVersion: number;
    readonly policySeq: number;
  };
}

const resolvedPerPolicyMax = 256;

interface Prepared {
  readonly configs: ReadonlyMap<string, RoutingConfig>;
  /** Profiles with hints, most specific first. */
  readonly auto: readonly route.RoutingProfile[];
  readonly resolved: Map<string, ResolvedProfile>;
  /** What a client gets that asks for nothing: most do. */
  plain: ResolvedProfile | undefined;
}

const preparedByPolicy = new WeakMap<PolicyInForce, Prepared>();

/** The one asked for last, which most requests ask for again. */
let latest: { readonly inForce: PolicyInForce; readonly prepared: Prepared } | undefined;

function prepare(inForce: PolicyInForce): Prepared {
  if (latest?.inForce === inForce) return latest.prepared;
  const prepared = preparedByPolicy.get(inForce) ?? prepareFirst(inForce);
  latest = { inForce, prepared };
  return prepared;
}

function prepareFirst(inForce: PolicyInForce): Prepared {
  const configs = new Map(
    inForce.policy.profiles.map(({ name, routingConfig }) => [name, parseRoutingConfig(routingConfig)] as const),
  );
  const hintsOf = ({ name }: route.RoutingProfile): RoutingConfig['hints'] => configs.get(name)?.hints ?? {};
  const auto = [...inForce.policy.profiles].sort(
    (a, b) => compareHints(hintsOf(a), hintsOf(b)) || (a.name < b.name ? -1 : 1),
  );
  const prepared: Prepared = { configs, auto, resolved: new Map(), plain: undefined };
  preparedByPolicy.set(inForce, prepared);
  return prepared;
}

function profileOf(inForce: PolicyInForce, wanted: string, counts: TokenCounts): route.RoutingProfile | undefined {
  const { profiles, defaultProfile } = inForce.policy;
  const named = (name: string): route.RoutingProfile | undefined => profiles.find((profile) => profile.name === name);
  const byDefault = (): route.RoutingProfile | undefined =>
    defaultProfile === '' ? profiles[0] : named(defaultProfile);
  if (wanted === '') return byDefault();
  if (wanted !== 'auto') return named(wanted) ?? byDefault();
  const { auto, configs } = prepare(inForce);
  return auto.find(({ name }) => hintsMatch(configs.get(name)?.hints ?? {}, counts)) ?? byDefault();
}

/**
 * Profile by header (a name or "auto", else the policy's default, also for an unknown name); strategy by lock > header > profile >
 * default. @throws SCHEDULING_STRATEGY_UNKNOWN, …_INVALID, …_EXCLUSIVE for what the client's header asks
 */
export function resolveProfile(inForce: PolicyInForce, headers: RoutingHeaders, counts: TokenCounts): ResolvedProfile {
  if (headers.routingStrategy || headers.configProfile) return resolveAsked(inForce, headers, counts);
  const prepared = prepare(inForce);
  return (prepared.plain ??= resolveAsked(inForce, headers, counts));
}

function resolveAsked(inForce: PolicyInForce, headers: RoutingHeaders, counts: TokenCounts): ResolvedProfile {
  const profile = profileOf(inForce, headers.configProfile ?? '', counts);
  const { lockedStrategy, policyId } = inForce.policy;
  const [text, chosenBy] = lockedStrategy
    ? ([lockedStrategy, 'lock'] as const)
    : headers.routingStrategy
      ? ([headers.routingStrategy, 'header'] as const)
      : profile?.strategy
        ? ([profile.strategy, 'profile'] as const)
        : ([defaultStrategy, 'default'] as const);
  const { resolved, configs } = prepare(inForce);
  const name = profile?.name ?? '';
  const key = `${chosenBy}\n${text}\n${name}`;
  const known = resolved.get(key);
  if (known !== undefined) return known;
  const spec = resolveStrategy(text, configs.get(name)?.params);
  const made: ResolvedProfile = {
    profile: name,
    strategy: spec.strategy,
    chosenBy,
    requestsPerSecond: profile?.requestsPerSecond ?? 0,
    spec,
    flow: configs.get(name)?.flow,
    hedge: configs.get(name)?.hedge,
    continuation: configs.get(name)?.continuation,
    pipeline: {
      hash: pipelineHash(spec),
      json: canonicalJson(spec),
      strategy: spec.strategy,
      policyId,
      policyVersion: inForce.version,
      policySeq: inForce.seq,
    },
  };
  // Header texts are the client's: the oldest entry goes, so that inventive clients cannot fill the memory.
  if (resolved.size >= resolvedPerPolicyMax) resolved.delete(resolved.keys().next().value as string);
  resolved.set(key, made);
  return made;
}
