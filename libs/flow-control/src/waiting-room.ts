import type { Entry } from './entry.ts';
import { entrySlot, evictedBefore, expiresBefore } from './entry.ts';
import type { FlowLimits } from './limits.ts';
import { PlaceHeap } from './place-heap.ts';

/** The places of all pools together, in requests and bytes. */
export class WaitingRoom {
  bytes = 0;
  readonly #limits: FlowLimits;
  readonly #expiry = new PlaceHeap<Entry<unknown>>(entrySlot.expiry, expiresBefore);
  readonly #eviction = new PlaceHeap<Entry<unknown>>(entrySlot.eviction, evictedBefore);
  /** By priority, from the lowest. */
  readonly #held: readonly { count: number; bytes: number }[];
  readonly #victims: Entry<unknown>[] = [];

  constructor(limits: FlowLimits) {
    this.#limits = limits;
    this.#held = Array.from({ length: 2 * limits.priorityMax + 1 }, () => ({ count: 0, bytes: 0 }));
  }

  get count(): number {
    return this.#expiry.size;
  }

  /** Whether its tenant leaves enough for others of its band and above: with the first request of a band always. */
  leavesRoom({ tenant, request, priority }: Entry<unknown>): boolean {
    const { waitingMax, waitingBytesMax, tenantRoomFactor, priorityMax } = this.#limits;
    const { waiting, bytes } = tenant;
    if (waiting.size === 0) return true;
    // What lower bands hold is free for this one.
    let free = waitingMax;
    let freeBytes = waitingBytesMax;
    for (let at = priority + priorityMax; at < this.#held.length; at++) {
      const held = this.#held[at] as { count: number; bytes: number };
      free -= held.count;
      freeBytes -= held.bytes;
    }
    return waiting.size < tenantRoomFactor * free && bytes + request.bytes <= tenantRoomFactor * freeBytes;
  }

  /** Those that must go for it, undefined where it is itself the one to go. They stay where they are until the caller removes them. */
  victimsFor(newcomer: Entry<unknown>): readonly Entry<unknown>[] | undefined {
    const { waitingMax, waitingBytesMax, evictionsMax } = this.#limits;
    const victims = this.#victims;
    victims.length = 0;
    const { bytes } = newcomer.request;
    let count = this.count;
    let held = this.bytes;
    while (count >= waitingMax || held + bytes > waitingBytesMax) {
      const worst = this.#eviction.peek();
      if (worst === undefined || victims.length === evictionsMax || evictedBefore(newcomer, worst)) break;
      this.#eviction.remove(worst);
      victims.push(worst);
      count--;
      held -= worst.request.bytes;
    }
    for (const victim of victims) this.#eviction.push(victim);
    return count >= waitingMax || held + bytes > waitingBytesMax ? undefined : victims;
  }

  add(entry: Entry<unknown>): void {
    this.#hold(entry, 1);
    this.#expiry.push(entry);
    this.#eviction.push(entry);
  }

  remove(entry: Entry<unknown>): void {
    this.#hold(entry, -1);
    this.#expiry.remove(entry);
    this.#eviction.remove(entry);
  }

  /** One whose wait is over by now; it stays where it is. */
  due(nowMs: number): Entry<unknown> | undefined {
    const first = this.#expiry.peek();
    return first !== undefined && first.dueMs <= nowMs ? first : undefined;
  }

  get nextDueMs(): number {
    return this.#expiry.peek()?.dueMs ?? Number.POSITIVE_INFINITY;
  }

  #hold({ priority, request }: Entry<unknown>, sign: 1 | -1): void {
    const held = this.#held[priority + this.#limits.priorityMax] as { count: number; bytes: number };
    held.count += sign;
    held.bytes += sign * request.bytes;
    this.bytes += sign * request.bytes;
  }
}
