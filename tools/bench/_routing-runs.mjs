// What the routing bench runs: its workloads, one cell of its table, and a worker that runs cells.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isMainThread, parentPort } from 'node:worker_threads';
import { dist, root } from './_common.mjs';

const sim = await dist('fleet-sim');
const { h100Llama8b } = await dist('engine-model');

const csv = (name) => sim.parseTrace(readFileSync(join(root, 'libs/fleet-sim/traces', `${name}.csv`), 'utf8'));
const trace = (name, file, slo, granuleMs) => () => new sim.TraceSource(name, slo, csv(file), granuleMs);

/** `perReplica`: requests for each replica, so many that a run is several times as long as a session or an answer. */
export const workloads = {
  mooncake: {
    perReplica: 150,
    make: trace('mooncake', 'mooncake-conversation', { ttftMs: 4_000, tpotMs: 50 }, 3_000),
  },
  agents: { perReplica: 300, make: () => sim.agents },
  tenants: { perReplica: 700, make: () => sim.tenants },
  'azure-conv': { perReplica: 500, make: trace('azure-conv', 'azure-2023-conv', { ttftMs: 500, tpotMs: 40 }) },
  'azure-code': { perReplica: 300, make: trace('azure-code', 'azure-2023-code', { ttftMs: 2_000, tpotMs: 80 }) },
};

const made = new Map();

/** The source of a workload and what one replica can serve of it, made once. */
export function sourceOf(name) {
  let known = made.get(name);
  if (known === undefined) {
    const source = workloads[name].make();
    known = { source, perReplicaPerS: sim.capacityPerS(source, replica(0)) };
    made.set(name, known);
  }
  return known;
}

const replica = (index) => ({ id: `r${index}`, profile: h100Llama8b, speed: 1 });

/** `prefix-cache@precise` is prefix-cache by the engines' KV events, `prefix-cache@ideal` with ideal knowledge. */
export const strategyOf = (text) => {
  const [strategy, knowledge = 'approximate'] = text.split('@');
  return { strategy, knowledge };
};

/** One run. An error of the strategy is its answer; a broken law is not caught. */
export function runCell({ workload, strategy, replicas, load, seed, gateways }) {
  const { source, perReplicaPerS } = sourceOf(workload);
  const requests = workloads[workload].perReplica * replicas;
  const made = source.make({ requests, requestsPerS: perReplicaPerS * replicas * load, seed });
  return sim.simulateFleet({
    ...strategyOf(strategy),
    workload: made,
    replicas: Array.from({ length: replicas }, (_, index) => replica(index)),
    gateways,
    seed,
  });
}

if (!isMainThread) {
  parentPort.on('message', (cell) => {
    try {
      parentPort.postMessage({ cell, report: runCell(cell) });
    } catch (error) {
      parentPort.postMessage({ cell, error: `${error?.code ?? ''} ${error?.message ?? error}`.trim() });
    }
  });
}
