import type { Entry, Ticket, TurnOrder } from './entry.ts';
import { PlaceHeap } from './place-heap.ts';
import { seenBefore, servedBefore, Tenant, tenantSlot } from './tenant.ts';

/**
 * One band of a pool: virtual token counters after "Fairness in Serving Large Language Models" (Sheng et al., OSDI 2024), with weights,
 * and with a charge at dispatch that is settled by what was measured.
 */
export class Band {
  /** Dispatches of bands above since the last one here. */
  passedOver = 0;
  /** Requests that wait here. */
  waiting = 0;
  readonly tenants = new Map<string, Tenant>();
  readonly #waiting = new PlaceHeap<Tenant>(tenantSlot.waiting, servedBefore);
  readonly #idle = new PlaceHeap<Tenant>(tenantSlot.idle, seenBefore);
  readonly #order: TurnOrder;
  readonly #tenantsMax: number;
  readonly #skipped: Tenant[] = [];
  /** Of all tenants seen lately. */
  #weight = 0;
  /** Charged and not settled, of all tenants. */
  #open = 0;
  /** Highest counter that was ever charged: whoever comes while nobody waits starts no lower. */
  #level = 0;

  constructor(
    readonly pool: string,
    readonly priority: number,
    order: TurnOrder,
    tenantsMax: number,
  ) {
    this.#order = order;
    this.#tenantsMax = tenantsMax;
  }

  get empty(): boolean {
    return this.tenants.size === 0;
  }

  /** The tenant's record, lifted to the level of those that are served now where it has nothing waiting: it cannot hoard. */
  arrive(id: string, weight: number, nowMs: number): Tenant {
    const tenant = this.tenants.get(id) ?? this.#join(id);
    this.#weight += weight - tenant.weight;
    tenant.weight = weight;
    tenant.seenMs = nowMs;
    this.#idle.moved(tenant);
    if (tenant.waiting.size > 0) return tenant;
    const level = this.#waiting.peek()?.counter ?? this.#level;
    if (tenant.counter < level) {
      tenant.counter = level;
      tenant.lifts++;
    }
    return tenant;
  }

  /** With one more under way it would have more than its share by weight of what the tenants seen lately have. */
  beyondShare(id: string, weight: number): boolean {
    const tenant = this.tenants.get(id);
    const weights = this.#weight + weight - (tenant?.weight ?? 0);
    return ((tenant?.open ?? 0) + 1) * weights > (this.#open + 1) * weight;
  }

  enqueue(entry: Entry<unknown>): void {
    const { tenant } = entry;
    tenant.waiting.push(entry);
    tenant.bytes += entry.request.bytes;
    this.waiting++;
    if (tenant.waiting.size > 1) return;
    this.#idle.remove(tenant);
    this.#waiting.push(tenant);
  }

  remove(entry: Entry<unknown>): void {
    const { tenant } = entry;
    tenant.waiting.remove(entry);
    tenant.bytes -= entry.request.bytes;
    this.waiting--;
    if (tenant.waiting.size > 0) return;
    this.#waiting.remove(tenant);
    this.rest(tenant);
  }

  /** The next one whose turn it is and that `fits`, passing over at most `skipsMax` tenants. It stays where it is. */
  next(fits: (entry: Entry<unknown>) => boolean, skipsMax: number): Entry<unknown> | undefined {
    const skipped = this.#skipped;
    let found: Entry<unknown> | undefined;
    for (;;) {
      const head = this.#waiting.peek()?.waiting.peek();
      if (head === undefined) break;
      if (fits(head)) {
        found = head;
        break;
      }
      if (skipped.length === skipsMax) break;
      skipped.push(this.#waiting.pop() as Tenant);
    }
    for (const tenant of skipped) this.#waiting.push(tenant);
    skipped.length = 0;
    return found;
  }

  charge(tenant: Tenant, cost: number, weight: number): Ticket {
    const charged = cost / weight;
    tenant.counter += charged;
    if (tenant.counter > this.#level) this.#level = tenant.counter;
    tenant.open++;
    this.#open++;
    this.#idle.remove(tenant);
    this.#waiting.moved(tenant);
    return { tenant, charged, weight, lifts: tenant.lifts, settled: false };
  }

  /**
   * Takes the estimate back for what was used. What was charged too much before the counter was lifted is gone: the lift would have been
   * larger by as much.
   */
  settle(ticket: Ticket, cost: number): void {
    if (ticket.settled) return;
    ticket.settled = true;
    const { tenant } = ticket;
    const more = cost / ticket.weight - ticket.charged;
    tenant.open--;
    this.#open--;
    if (more > 0 || ticket.lifts === tenant.lifts) tenant.counter = Math.max(0, tenant.counter + more);
    this.#waiting.moved(tenant);
    this.rest(tenant);
  }

  /** With nothing waiting and nothing under way it can be forgotten. */
  rest(tenant: Tenant): void {
    if (tenant.waiting.size === 0 && tenant.open === 0 && !this.#idle.has(tenant)) this.#idle.push(tenant);
  }

  /** Who came last before `seenMs` and idles. Its counter would say little of now. */
  forgetBefore(seenMs: number): void {
    for (let next = this.#idle.peek(); next !== undefined && next.seenMs < seenMs; next = this.#idle.peek())
      this.#forget(next);
  }

  #forget(tenant: Tenant): void {
    this.#idle.remove(tenant);
    this.tenants.delete(tenant.id);
    this.#weight -= tenant.weight;
  }

  #join(id: string): Tenant {
    if (this.tenants.size >= this.#tenantsMax) {
      const longest = this.#idle.peek();
      // More tenants at once than there are counters: those beyond share one.
      if (longest === undefined) return this.tenants.get('') ?? this.#add('');
      this.#forget(longest);
    }
    return this.#add(id);
  }

  #add(id: string): Tenant {
    const tenant = new Tenant(this, id, this.#order);
    this.tenants.set(id, tenant);
    return tenant;
  }
}
