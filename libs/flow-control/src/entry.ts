import type { FlowOutcome } from './outcome.ts';
import type { Placed } from './place-heap.ts';
import type { Tenant } from './tenant.ts';

/** Heaps that a waiting request stands in. */
export const entrySlot = { turn: 0, expiry: 1, eviction: 2 } as const;

export type TurnOrder = 'fcfs' | 'deadline';

/** Whose service it is. */
export interface FlowIdentity {
  /** Requests of one pool wait for the same replicas: the model. */
  readonly pool: string;
  /** Higher goes first. */
  readonly priority: number;
  /** '' is everybody who has no name. */
  readonly tenant: string;
  /** Share of the tenant against the others of its band, > 0. */
  readonly weight: number;
  /** Estimates until `settle` tells what was used. */
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly arrivedMs: number;
}

export interface FlowRequest<T> extends FlowIdentity {
  /** Longest wait that the queue allows it, ms. */
  readonly waitMsMax: number;
  /** When waiting further is of no use to the client; Infinity where it did not say. */
  readonly deadlineMs: number;
  readonly bytes: number;
  /** What it lacks: with no replica ready the end of the wait is `RejectedNoReplica`. */
  readonly lacks: 'room' | 'replica';
  readonly payload: T;
}

/** Service charged to a tenant's counter, until it is settled. */
export interface Ticket {
  readonly tenant: Tenant;
  /** In the counter's unit: weighted tokens by weight. */
  readonly charged: number;
  readonly weight: number;
  /** `tenant.lifts` at the charge. */
  readonly lifts: number;
  settled: boolean;
}

/** One request that waits, or waited. */
export class Entry<T> implements Placed {
  readonly places = [-1, -1, -1];
  /** Undefined while it waits. */
  outcome: FlowOutcome | undefined;
  /** Of the one that was dispatched. */
  ticket: Ticket | undefined;
  /** When its wait ends, whichever bound comes first. */
  readonly dueMs: number;

  constructor(
    readonly request: FlowRequest<T>,
    readonly sequence: number,
    readonly priority: number,
    readonly tenant: Tenant,
  ) {
    this.dueMs = Math.min(request.arrivedMs + request.waitMsMax, request.deadlineMs);
  }
}

type AnyEntry = Entry<unknown>;

export const turnOrders: Readonly<Record<TurnOrder, (a: AnyEntry, b: AnyEntry) => boolean>> = {
  fcfs: (a, b) => a.sequence < b.sequence,
  deadline: (a, b) => (a.dueMs === b.dueMs ? a.sequence < b.sequence : a.dueMs < b.dueMs),
};

export const expiresBefore = (a: AnyEntry, b: AnyEntry): boolean => a.dueMs < b.dueMs;

/** Who goes first where there is no place: lowest band, then latest deadline, then the youngest. */
export function evictedBefore(a: AnyEntry, b: AnyEntry): boolean {
  if (a.priority !== b.priority) return a.priority < b.priority;
  return a.dueMs === b.dueMs ? a.sequence > b.sequence : a.dueMs > b.dueMs;
}
