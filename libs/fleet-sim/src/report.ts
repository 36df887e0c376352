import type { Outcomes } from './outcomes.ts';
import type { Slo } from './request.ts';

export interface Percentiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
}

export interface FleetReport {
  readonly workload: string;
  readonly strategy: string;
  readonly knowledge: string;
  readonly replicas: number;
  readonly seed: number;
  readonly requests: number;
  /** Of them those that latencies, goodput and hit rate are of: see `window`. */
  readonly counted: number;
  readonly refused: number;
  /** Arrivals a second while it was counted. */
  readonly offeredPerS: number;
  readonly ttftMs: Percentiles;
  readonly tpotMs: Percentiles;
  readonly e2eMs: Percentiles;
  /** Share of requests that met the SLO, and how many a second that is. */
  readonly goodShare: number;
  readonly goodPerS: number;
  /** Share of prompt tokens found in a prefix cache. */
  readonly hitRate: number;
  /** Requests on the replica with most by the mean, seen at each arrival that found one in flight for each replica. */
  readonly loadSpread: number;
  /** Requests of the replica that got most by the mean, over the run. */
  readonly requestSpread: number;
  readonly perReplica: readonly number[];
  readonly busyShare: number;
  readonly preemptions: number;
  readonly endMs: number;
  /** Picks by what degraded in them. */
  readonly notes: Readonly<Record<string, number>>;
  /** Columns that the strategy reads and the simulation does not fill. */
  readonly unfed: readonly string[];
}

/** Arrivals that count: after a fifth of the time, when caches are warm and sessions overlap, until no new session begins. */
export interface Window {
  readonly fromMs: number;
  readonly untilMs: number;
}

const warmupShare = 0.2;

export const windowOf = (lastArrivalMs: number): Window => ({
  fromMs: lastArrivalMs * warmupShare,
  untilMs: lastArrivalMs,
});

/** Nearest rank; NaN of nothing. Sorts its argument. */
export function percentiles(values: Float64Array): Percentiles {
  values.sort();
  const at = (share: number): number => values[Math.max(0, Math.ceil(values.length * share) - 1)] ?? Number.NaN;
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99) };
}

export interface Latencies {
  readonly ttftMs: Percentiles;
  readonly tpotMs: Percentiles;
  readonly e2eMs: Percentiles;
  readonly counted: number;
  readonly offeredPerS: number;
  readonly goodShare: number;
  readonly goodPerS: number;
  readonly hitRate: number;
}

/** Latencies of what arrived in the window. A refused request is never good. */
export function latencies(outcomes: Outcomes, slo: Slo, { fromMs, untilMs }: Window): Latencies {
  const { arrivedMs, firstTokenMs, finishedMs, outputTokens, promptTokens, cachedTokens } = outcomes;
  const counted = outcomes.order.filter((index) => {
    const atMs = arrivedMs[index] as number;
    return atMs >= fromMs && atMs <= untilMs;
  });
  const served = counted.filter((index) => !Number.isNaN(finishedMs[index] as number));
  const ttft = new Float64Array(served.length);
  const e2e = new Float64Array(served.length);
  const tpot: number[] = [];
  let good = 0;
  let prompt = 0;
  let cached = 0;
  for (const [at, index] of served.entries()) {
    const firstMs = firstTokenMs[index] as number;
    const tokens = outputTokens[index] as number;
    ttft[at] = firstMs - (arrivedMs[index] as number);
    e2e[at] = (finishedMs[index] as number) - (arrivedMs[index] as number);
    const perToken = tokens > 1 ? ((finishedMs[index] as number) - firstMs) / (tokens - 1) : 0;
    if (tokens > 1) tpot.push(perToken);
    if ((ttft[at] as number) <= slo.ttftMs && perToken <= slo.tpotMs) good++;
    prompt += promptTokens[index] as number;
    cached += cachedTokens[index] as number;
  }
  const perS = 1000 / (untilMs - fromMs);
  return {
    ttftMs: percentiles(ttft),
    tpotMs: percentiles(Float64Array.from(tpot)),
    e2eMs: percentiles(e2e),
    counted: counted.length,
    goodShare: counted.length > 0 ? good / counted.length : Number.NaN,
    offeredPerS: counted.length * perS,
    goodPerS: good * perS,
    hitRate: prompt > 0 ? cached / prompt : Number.NaN,
  };
}
