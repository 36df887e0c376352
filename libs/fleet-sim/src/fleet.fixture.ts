import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { h100Llama8b } from '#libs/engine-model';
import type { FleetOptions, FleetPick, FleetReport, ReplicaSpec, SimRequest, TraceRow, Workload } from './index.ts';
import { parseTrace, simulateFleet } from './index.ts';

export const slo = { ttftMs: 1_000, tpotMs: 40 };

export const replicas = (count: number, more: Partial<ReplicaSpec> = {}): ReplicaSpec[] =>
  Array.from({ length: count }, (_, index) => ({ id: `r${index}`, profile: h100Llama8b, speed: 1, ...more }));

/** The first replica differs. */
export const oneOff = (count: number, more: Partial<ReplicaSpec>): ReplicaSpec[] =>
  replicas(count).map((spec, index) => (index === 0 ? { ...spec, ...more } : spec));

export const trace = (name: string): TraceRow[] =>
  parseTrace(readFileSync(join(import.meta.dirname, `../traces/${name}.csv`), 'utf8'));

/** Requests of equal size, one every `gapMs`, that share nothing. */
export function steady(count: number, gapMs: number, promptTokens = 512, outputTokens = 64): Workload {
  const size = promptTokens + outputTokens;
  const arrivals = Array.from({ length: count }, (_, index): SimRequest => ({
    index,
    atMs: index * gapMs,
    prompt: [{ first: 1 + index * size, length: promptTokens }],
    promptTokens,
    outputTokens,
    outputFirst: 1 + index * size + promptTokens,
    maxTokens: 0,
    sessionId: '',
    tenant: 't',
  }));
  return { name: 'steady', slo, arrivals, count };
}

/** The same requests, all with this prefix before their own prompt. */
export function withPrefix(workload: Workload, tokens: number): Workload {
  const first = 2 ** 29;
  const arrivals = workload.arrivals.map((request) => ({
    ...request,
    prompt: [{ first, length: tokens }, ...request.prompt],
    promptTokens: request.promptTokens + tokens,
  }));
  return { ...workload, arrivals };
}

/** A pick in what outlives it. */
export interface Pick {
  readonly request: SimRequest;
  readonly chosen: number;
  readonly notes: readonly string[];
  readonly inflight: readonly number[];
}

export function run(options: Omit<FleetOptions, 'seed'> & { seed?: number }): { report: FleetReport; picks: Pick[] } {
  const picks: Pick[] = [];
  const picked = ({ request, table, decision }: FleetPick): void => {
    picks.push({
      request,
      chosen: decision.chosen,
      notes: [...decision.notes],
      inflight: [...table.values('inflight').subarray(0, table.count)],
    });
  };
  const report = simulateFleet({ seed: 1, picked, ...options });
  return { report, picks };
}
