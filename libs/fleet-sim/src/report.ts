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
  /** Of them those that the numbers below are of: the first tenth finds a cold fleet and is left out. */
  readonly counted: number;
  readonly refused: number;
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

export const warmupShare = 0.1;

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
  readonly goodShare: number;
  readonly goodPerS: number;
  readonly hitRate: number;
}

/** Latencies of what arrived after the warm-up. A refused request is never good. */
export function latencies(outcomes: Outcomes, slo: Slo): Latencies {
  const { arrivedMs, firstTokenMs, finishedMs, outputTokens, promptTokens, cachedTokens } = outcomes;
  const counted = outcomes.order.slice(Math.floor(outcomes.order.length * warmupShare));
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
  const spanMs = (arrivedMs[counted.at(-1) ?? 0] as number) - (arrivedMs[counted[0] ?? 0] as number);
  return {
    ttftMs: percentiles(ttft),
    tpotMs: percentiles(Float64Array.from(tpot)),
    e2eMs: percentiles(e2e),
    counted: counted.length,
    goodShare: counted.length > 0 ? good / counted.length : Number.NaN,
    goodPerS: spanMs > 0 ? (good / spanMs) * 1000 : Number.NaN,
    hitRate: prompt > 0 ? cached / prompt : Number.NaN,
  };
}
