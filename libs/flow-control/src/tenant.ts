import type { Entry, TurnOrder } from './entry.ts';
import { entrySlot, turnOrders } from './entry.ts';
import type { Band } from './band.ts';
import type { Placed } from './place-heap.ts';
import { PlaceHeap } from './place-heap.ts';

/** Heaps that a tenant stands in: of those that wait, and of those that idle. */
export const tenantSlot = { waiting: 0, idle: 1 } as const;

/** A tenant inside one band: its virtual token counter and what it has waiting. */
export class Tenant implements Placed {
  readonly places = [-1, -1];
  /** Service so far, in weighted tokens by weight. The least one is served next. */
  counter = 0;
  /** Times that the counter was lifted. */
  lifts = 0;
  /** Charged and not settled. */
  open = 0;
  bytes = 0;
  weight = 0;
  /** Of its last arrival. */
  seenMs = 0;
  readonly waiting: PlaceHeap<Entry<unknown>>;

  constructor(
    readonly band: Band,
    readonly id: string,
    order: TurnOrder,
  ) {
    this.waiting = new PlaceHeap(entrySlot.turn, turnOrders[order]);
  }
}

/** Equal counters go by name, so that the same history gives the same order. */
export const servedBefore = (a: Tenant, b: Tenant): boolean =>
  a.counter === b.counter ? a.id < b.id : a.counter < b.counter;

export const seenBefore = (a: Tenant, b: Tenant): boolean => a.seenMs < b.seenMs;
