import { closest, CodedError } from '#libs/kernel';

/** When a second replica is asked for the first token of a stream: `hedge` of a profile's routingConfig. */
export interface HedgeProfile {
  /** After so long without a byte; 0: by `quantile` of what such requests take. */
  readonly delayMs: number;
  /** The share of requests whose first byte has come by then, as learnt. */
  readonly quantile: number;
  /** Hedges by requests that could be hedged, at most. */
  readonly budget: number;
}

/** Streams that another replica may go on with after their own one died: `continuation` of a profile's routingConfig. */
export interface ContinuationProfile {
  readonly completions: boolean;
  /** Depends on the model's chat template: it must leave the last message open. */
  readonly chat: boolean;
}

const invalid = (section: string, problem: string, advice?: string): CodedError =>
  new CodedError('ROUTE_POLICY_INVALID', `${section}: ${problem}`, advice === undefined ? {} : { advice });

function refuseUnknown(section: string, given: Readonly<Record<string, unknown>>, names: readonly string[]): void {
  for (const name of Object.keys(given)) {
    if (names.includes(name)) continue;
    const meant = closest(name, names);
    const advice = meant === undefined ? `There are: ${names.join(', ')}.` : `Did you mean ${meant}?`;
    throw invalid(section, `there is no ${JSON.stringify(name.slice(0, 64))}`, advice);
  }
}

const hedgeNumbers = {
  delayMs: { start: 0, least: 0, most: 600_000 },
  quantile: { start: 0.95, least: 0.5, most: 0.999 },
  budget: { start: 0.05, least: 0.001, most: 1 },
} as const;

/** Strict: an unknown name or a value out of range is refused. @throws ROUTE_POLICY_INVALID */
export function parseHedgeProfile(given: Readonly<Record<string, unknown>>): HedgeProfile {
  refuseUnknown('hedge', given, Object.keys(hedgeNumbers));
  const read = Object.entries(hedgeNumbers).map(([name, { start, least, most }]) => {
    const value = given[name] ?? start;
    if (typeof value !== 'number' || !(value >= least && value <= most)) {
      throw invalid('hedge', `${name} is no number from ${least} to ${most}`);
    }
    return [name, value] as const;
  });
  return Object.fromEntries(read) as unknown as HedgeProfile;
}

/** @throws ROUTE_POLICY_INVALID */
export function parseContinuationProfile(given: Readonly<Record<string, unknown>>): ContinuationProfile {
  refuseUnknown('continuation', given, ['completions', 'chat']);
  const flag = (name: string, start: boolean): boolean => {
    const value = given[name] ?? start;
    if (typeof value !== 'boolean') throw invalid('continuation', `${name} is neither true nor false`);
    return value;
  };
  return { completions: flag('completions', true), chat: flag('chat', false) };
}
