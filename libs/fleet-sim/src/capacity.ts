import { fnv1a32 } from '#libs/kernel';
import { simulateFleet } from './fleet.ts';
import type { SimRequest, WorkloadSource } from './request.ts';
import type { ReplicaSpec } from './types.ts';

/** One of so many sessions goes to the measured replica, as if it stood in a fleet of this size. */
const fleetSize = 8;
/** Several times what runs at once, so that the start and the end weigh little. */
const sampleRequests = 1_280;

/**
 * Requests per second that one replica finishes when it never lacks work: a share of the sessions, all there from the start, each turn
 * right behind the one before; between three and eight tenths of them finished. Its prefix cache helps as far as it can under that pressure.
 * A load of 1 is this rate for each replica: by more, queues grow without end under most strategies.
 */
export function capacityPerS(source: WorkloadSource, replica: ReplicaSpec, seed = 1): number {
  const whole = source.make({ requests: sampleRequests * fleetSize, requestsPerS: 1, seed });
  const chosen = whole.arrivals.filter(
    ({ sessionId, index }) => fnv1a32(sessionId === '' ? `${index}` : sessionId) % fleetSize === 0,
  );
  let count = 0;
  // At once, but in order, and numbered anew.
  const atOnce = (request: SimRequest): SimRequest => ({
    ...request,
    index: count++,
    atMs: 0,
    next: request.next && { afterMs: 0, request: atOnce(request.next.request) },
  });
  const arrivals = chosen.map(atOnce);
  const finishedMs: number[] = [];
  simulateFleet({
    workload: { name: source.name, slo: source.slo, arrivals, count },
    replicas: [replica],
    strategy: 'round-robin',
    seed,
    trace: (line) => {
      const [atMs, what] = line.split(' ');
      if (what === 'finish') finishedMs.push(Number(atMs));
    },
  });
  const from = Math.floor(finishedMs.length * 0.3);
  const to = Math.floor(finishedMs.length * 0.8);
  return ((to - from) / ((finishedMs[to] as number) - (finishedMs[from] as number))) * 1000;
}
