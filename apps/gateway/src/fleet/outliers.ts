import { outlierLimits } from './limits.ts';

/** Requests and failures of one replica over a sliding window, in buckets. Pure: time is given. */
export class FailureWindow {
  readonly #requests = new Uint32Array(outlierLimits.buckets);
  readonly #failures = new Uint32Array(outlierLimits.buckets);
  #bucket = 0;

  count(failed: boolean, nowMs: number): void {
    const at = this.#moveTo(nowMs);
    this.#requests[at] = (this.#requests[at] as number) + 1;
    if (failed) this.#failures[at] = (this.#failures[at] as number) + 1;
  }

  totals(nowMs: number): { requests: number; failures: number } {
    this.#moveTo(nowMs);
    let requests = 0;
    let failures = 0;
    for (let i = 0; i < outlierLimits.buckets; i++) {
      requests += this.#requests[i] as number;
      failures += this.#failures[i] as number;
    }
    return { requests, failures };
  }

  clear(): void {
    this.#requests.fill(0);
    this.#failures.fill(0);
  }

  /** Empties what has passed and answers the place of the present bucket. */
  #moveTo(nowMs: number): number {
    const bucket = Math.floor(nowMs / (outlierLimits.windowMs / outlierLimits.buckets));
    const passed = Math.min(bucket - this.#bucket, outlierLimits.buckets);
    for (let i = 1; i <= passed; i++) {
      const at = (this.#bucket + i) % outlierLimits.buckets;
      this.#requests[at] = 0;
      this.#failures[at] = 0;
    }
    if (passed === outlierLimits.buckets) this.clear();
    this.#bucket = Math.max(this.#bucket, bucket);
    return this.#bucket % outlierLimits.buckets;
  }
}

export interface ObservedReplica {
  readonly id: string;
  readonly requests: number;
  readonly failures: number;
  readonly ejected: boolean;
  /** Drained, removed or away for another reason: it counts in no comparison. */
  readonly out: boolean;
  readonly models: readonly string[];
}

export interface Ejection {
  readonly replicaId: string;
  readonly requests: number;
  readonly failures: number;
  readonly othersRequests: number;
  readonly othersFailures: number;
  readonly reason: string;
}

/**
 * Which replicas to hold out of routing: those whose share of failures is high, and several times that of all others together.
 * When everything fails alike nobody stands out. Never more than a share of the replicas of any model, and so never the only one.
 */
export function findOutliers(replicas: readonly ObservedReplica[]): Ejection[] {
  const compared = replicas.filter(({ ejected, out }) => !ejected && !out);
  let allRequests = 0;
  let allFailures = 0;
  for (const { requests, failures } of compared) {
    allRequests += requests;
    allFailures += failures;
  }
  const room = roomByModel(replicas);
  const found: Ejection[] = [];
  const share = ({ failures, requests }: ObservedReplica): number => failures / Math.max(1, requests);
  // Worst first, so that the room goes to the worst; ids settle ties so that the order is the same everywhere.
  const byShare = compared.toSorted((a, b) => share(b) - share(a) || (a.id < b.id ? -1 : 1));
  for (const replica of byShare) {
    const { id, requests, failures, models } = replica;
    if (requests < outlierLimits.requestsMin || share(replica) < outlierLimits.failureShareMin) continue;
    const othersRequests = allRequests - requests;
    const othersFailures = allFailures - failures;
    if (othersRequests < outlierLimits.requestsMin) continue;
    if (share(replica) < (outlierLimits.timesOfOthers * othersFailures) / othersRequests) continue;
    if (!models.every((model) => (room.get(model) ?? 0) >= 1)) continue;
    for (const model of models) room.set(model, (room.get(model) as number) - 1);
    found.push({
      replicaId: id,
      requests,
      failures,
      othersRequests,
      othersFailures,
      reason: `${failures} of ${requests} requests failed in ${outlierLimits.windowMs / 1000} s, ${othersFailures} of ${othersRequests} elsewhere`,
    });
  }
  return found;
}

/** How many more replicas of each model may be held out. */
function roomByModel(replicas: readonly ObservedReplica[]): Map<string, number> {
  const counts = new Map<string, { all: number; ejected: number }>();
  for (const { models, ejected, out } of replicas) {
    if (out) continue;
    for (const model of models) {
      const count = counts.get(model) ?? { all: 0, ejected: 0 };
      counts.set(model, { all: count.all + 1, ejected: count.ejected + (ejected ? 1 : 0) });
    }
  }
  return new Map(
    [...counts].map(([model, { all, ejected }]) => [model, Math.floor(all * outlierLimits.ejectedShareMax) - ejected]),
  );
}

/** Longer each time in a row. */
export const ejectMs = (timesBefore: number): number =>
  Math.min(outlierLimits.ejectMsMax, outlierLimits.ejectMsMin * 2 ** Math.min(timesBefore, 10));
