import type { JsonObject } from '@bufbuild/protobuf';
import { closest, CodedError } from '#libs/kernel';
import type { PluginParams } from '#libs/scheduling';
import type { FlowProfile } from './flow-profile.ts';
import { parseFlowProfile } from './flow-profile.ts';
import type { ContinuationProfile, HedgeProfile } from './stream-profiles.ts';
import { parseContinuationProfile, parseHedgeProfile } from './stream-profiles.ts';

export const hintNames = ['promptTokensGte', 'promptTokensLt', 'maxTokensGte', 'maxTokensLt'] as const;

/** What `config-profile: auto` matches a request against. */
export type Hints = { readonly [Name in (typeof hintNames)[number]]?: number };

export interface RoutingConfig {
  readonly hints: Hints;
  readonly params: PluginParams;
  /** Undefined: requests of the profile do not wait. */
  readonly flow: FlowProfile | undefined;
  /** Undefined: no second replica is asked while the first one may still answer. */
  readonly hedge: HedgeProfile | undefined;
  /** Undefined: a stream whose replica died ends with an error. */
  readonly continuation: ContinuationProfile | undefined;
}

const sections = ['flowControl', 'hedge', 'continuation'] as const;

const isHint = (name: string): name is keyof Hints => (hintNames as readonly string[]).includes(name);

/** What a request of the profile is to take; each plugin that knows targets is told. */
export const targetNames = ['ttftMs', 'tpotMs'] as const;
const targetPlugins = ['slo-target', 'slo-pack'] as const;

const isTarget = (name: string): boolean => (targetNames as readonly string[]).includes(name);

/** Splits a profile's routingConfig into hints, targets (numbers) and plugin parameters (objects). @throws ROUTE_POLICY_INVALID */
export function parseRoutingConfig(config: JsonObject | undefined): RoutingConfig {
  const hints: Record<string, number> = {};
  const params: Record<string, Record<string, unknown>> = {};
  const targets: Record<string, number> = {};
  let flow: FlowProfile | undefined;
  let hedge: HedgeProfile | undefined;
  let continuation: ContinuationProfile | undefined;
  for (const [name, value] of Object.entries(config ?? {})) {
    if (isHint(name)) {
      if (typeof value !== 'number' || !(value >= 0)) throw invalid(`${name} is not a number of tokens`);
      hints[name] = value;
    } else if (isTarget(name)) {
      if (typeof value !== 'number' || !(value > 0)) throw invalid(`${name} is not a number of milliseconds above 0`);
      targets[name] = value;
    } else if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      if (name === 'flowControl') flow = parseFlowProfile(value);
      else if (name === 'hedge') hedge = parseHedgeProfile(value);
      else if (name === 'continuation') continuation = parseContinuationProfile(value);
      else Object.defineProperty(params, name, { value, enumerable: true, writable: true });
    } else {
      const meant = closest(name, [...hintNames, ...targetNames, ...sections]);
      throw invalid(
        `routingConfig holds ${JSON.stringify(name.slice(0, 64))}`,
        meant === undefined
          ? `Hints: ${hintNames.join(', ')}; targets: ${targetNames.join(', ')}; else a plugin with an object.`
          : `Did you mean ${meant}?`,
      );
    }
  }
  // What is said of a plugin itself goes over the profile's target.
  if (Object.keys(targets).length > 0) {
    for (const plugin of targetPlugins) params[plugin] = { ...targets, ...params[plugin] };
  }
  return { hints, params, flow, hedge, continuation };
}

const invalid = (problem: string, advice?: string): CodedError =>
  new CodedError('ROUTE_POLICY_INVALID', problem, advice === undefined ? {} : { advice });

/** Tokens of a request as far as known: maxTokens 0 is not said. */
export interface TokenCounts {
  readonly promptTokens: number;
  readonly maxTokens: number;
}

/** All hints hold, and there is one. A hint on what the client did not say does not hold. */
export function hintsMatch(hints: Hints, { promptTokens, maxTokens }: TokenCounts): boolean {
  if (hintCount(hints) === 0) return false;
  const onMax = hints.maxTokensGte !== undefined || hints.maxTokensLt !== undefined;
  if (onMax && maxTokens === 0) return false;
  return (
    promptTokens >= (hints.promptTokensGte ?? 0) &&
    promptTokens < (hints.promptTokensLt ?? Infinity) &&
    maxTokens >= (hints.maxTokensGte ?? 0) &&
    maxTokens < (hints.maxTokensLt ?? Infinity)
  );
}

const hintCount = (hints: Hints): number => hintNames.filter((name) => hints[name] !== undefined).length;

/**
 * Below 0 when `a` is the more specific: more hints, then larger promptTokensGte, smaller promptTokensLt, larger maxTokensGte,
 * smaller maxTokensLt. AIBrix's order.
 */
export function compareHints(a: Hints, b: Hints): number {
  const larger = (x = 0, y = 0): number => y - x;
  const smaller = (x = Number.MAX_VALUE, y = Number.MAX_VALUE): number => x - y;
  return (
    hintCount(b) - hintCount(a) ||
    larger(a.promptTokensGte, b.promptTokensGte) ||
    smaller(a.promptTokensLt, b.promptTokensLt) ||
    larger(a.maxTokensGte, b.maxTokensGte) ||
    smaller(a.maxTokensLt, b.maxTokensLt)
  );
}
