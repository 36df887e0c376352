import type { FairnessTenant, TenantReport } from './fairness.ts';
import { simulateFairness } from './fairness.ts';

export interface NoisyOptions {
  readonly replicas: number;
  readonly slots: number;
  readonly flowControl: boolean;
  /** What the noisy tenant sends in times of its share of the capacity; 0 is that it is not there. */
  readonly times: number;
  readonly seed: number;
  readonly durationMs?: number;
}

export type NoisyReport = ReadonlyMap<string, TenantReport>;

const quiet = ['quiet-1', 'quiet-2', 'quiet-3'];
/** The others' traffic, in times of their shares. */
const quietTimes = 0.6;
const warmupMs = 20_000;
const capacities = new Map<string, number>();

/** Requests per second that the fleet finishes when it never lacks work. */
function capacityPerS(replicas: number, slots: number): number {
  const key = `${replicas}/${slots}`;
  let known = capacities.get(key);
  if (known === undefined) {
    const durationMs = 60_000;
    const tenants = [{ id: 'all', weight: 1, requestsPerS: 100 * replicas }];
    const options = { tenants, replicas, slots, flowControl: true, durationMs, warmupMs, seed: 1 };
    known = ((simulateFairness(options).get('all') as TenantReport).answered / (durationMs - warmupMs)) * 1_000;
    capacities.set(key, known);
  }
  return known;
}

/** Three tenants that keep below their shares, and a fourth that does not. All have the same weight, so that a share is a quarter. */
export function noisyNeighbour(options: NoisyOptions): NoisyReport {
  const { replicas, slots, flowControl, times, seed, durationMs = 200_000 } = options;
  const share = capacityPerS(replicas, slots) / (quiet.length + 1);
  const tenants: FairnessTenant[] = quiet.map((id) => ({ id, weight: 1, requestsPerS: quietTimes * share }));
  if (times > 0) tenants.push({ id: 'noisy', weight: 1, requestsPerS: times * share });
  return simulateFairness({ tenants, replicas, slots, flowControl, durationMs, warmupMs, seed });
}
