import type { FlowIdentity, FlowRequest, Ticket, TurnOrder } from './entry.ts';
import { Entry } from './entry.ts';
import type { FlowLimits } from './limits.ts';
import { flowLimits } from './limits.ts';
import type { FlowOutcome } from './outcome.ts';
import { flowOutcomes } from './outcome.ts';
import { Pool } from './pool.ts';
import { WaitingRoom } from './waiting-room.ts';

export interface FlowControlOptions {
  readonly limits?: Partial<FlowLimits>;
  /** Inside a tenant. */
  readonly order?: TurnOrder;
}

export interface Offered<T> {
  /** Its outcome is `rejected_capacity` where it found no place. */
  readonly entry: Entry<T>;
  /** Those that went for it, with `evicted_pressure`. The caller tells them. */
  readonly evicted: readonly Entry<T>[];
}

const nobody: readonly never[] = [];

/**
 * Who waits, and who goes next. Synchronous, without time or timers of its own: the caller offers what finds no room, asks for the next
 * one when there is some, ticks, and settles what was dispatched with the tokens it used.
 */
export class FlowControl<T> {
  readonly limits: FlowLimits;
  /** Ends by outcome, since the start. Those that never waited count as dispatched too. */
  readonly ended = Object.fromEntries(flowOutcomes.map((outcome) => [outcome, 0])) as Record<FlowOutcome, number>;
  offered = 0;
  readonly #order: TurnOrder;
  readonly #room: WaitingRoom;
  readonly #pools = new Map<string, Pool>();
  #sequence = 0;

  constructor({ limits, order = 'fcfs' }: FlowControlOptions = {}) {
    this.limits = { ...flowLimits, ...limits };
    this.#order = order;
    this.#room = new WaitingRoom(this.limits);
  }

  get waiting(): number {
    return this.#room.count;
  }

  get waitingBytes(): number {
    return this.#room.bytes;
  }

  /** When the next wait ends by itself; Infinity while nobody waits. */
  get nextDueMs(): number {
    return this.#room.nextDueMs;
  }

  /** Nobody may go past those that wait for the same replicas. */
  waitingIn(pool: string): number {
    return this.#pools.get(pool)?.waiting ?? 0;
  }

  waitingByPriority(visit: (pool: string, priority: number, waiting: number) => void): void {
    for (const { name, bands } of this.#pools.values()) {
      for (const { priority, waiting } of bands) visit(name, priority, waiting);
    }
  }

  /** The counter of a tenant, undefined of one that was not seen lately. */
  counterOf({ pool, priority, tenant }: Pick<FlowIdentity, 'pool' | 'priority' | 'tenant'>): number | undefined {
    const bands = this.#pools.get(pool)?.bands ?? [];
    return bands.find((band) => band.priority === this.#banded(priority))?.tenants.get(tenant)?.counter;
  }

  /** A request that needs not wait: its service counts all the same. The caller knows that there is room and nobody before it. */
  pass(identity: FlowIdentity): Ticket {
    const band = this.#pool(identity.pool).band(this.#banded(identity.priority));
    const tenant = band.arrive(identity.tenant, weightOf(identity), identity.arrivedMs);
    this.offered++;
    this.ended.dispatched++;
    return band.charge(tenant, this.#cost(identity.inputTokens, identity.outputTokens), weightOf(identity));
  }

  offer(request: FlowRequest<T>): Offered<T> {
    const pool = this.#pool(request.pool);
    const band = pool.band(this.#banded(request.priority));
    const tenant = band.arrive(request.tenant, weightOf(request), request.arrivedMs);
    const entry = new Entry(request, this.#sequence++, band.priority, tenant);
    this.offered++;
    const victims = this.#room.leavesRoom(entry) ? this.#room.victimsFor(entry) : undefined;
    if (victims === undefined) {
      this.#ended(entry, 'rejected_capacity');
      band.rest(tenant);
      return { entry, evicted: nobody };
    }
    const evicted = victims.length === 0 ? nobody : ([...victims] as Entry<T>[]);
    this.#room.add(entry);
    band.enqueue(entry);
    pool.waiting++;
    for (const victim of evicted) this.#leave(victim, 'evicted_pressure');
    return { entry, evicted };
  }

  /**
   * Takes out the one whose turn it is among those that `fits` (there is a replica with room for it) and charges its estimate; undefined
   * where nobody waits or nobody fits.
   */
  next(poolName: string, fits: (entry: Entry<T>) => boolean): Entry<T> | undefined {
    const pool = this.#pools.get(poolName);
    if (pool === undefined || pool.waiting === 0) return undefined;
    const entry = pool.next(fits as (entry: Entry<unknown>) => boolean) as Entry<T> | undefined;
    if (entry === undefined) return undefined;
    const { tenant, request } = entry;
    const { band } = tenant;
    entry.ticket = band.charge(tenant, this.#cost(request.inputTokens, request.outputTokens), weightOf(request));
    this.#leave(entry, 'dispatched');
    pool.served(band);
    return entry;
  }

  /** It waits no longer, for a reason of the caller's. False where it did not wait. */
  leave(entry: Entry<T>, outcome: 'client_gone' | 'stopped' | 'rejected_no_replica'): boolean {
    if (entry.outcome !== undefined) return false;
    this.#leave(entry, outcome);
    return true;
  }

  /**
   * Its tenant would have more under way than its share by weight: it is to leave free what is kept for those below theirs, so that
   * these need not wait for others to end.
   */
  beyondShare({ pool, priority, tenant, weight }: Omit<FlowIdentity, 'inputTokens' | 'outputTokens'>): boolean {
    const bands = this.#pools.get(pool)?.bands ?? [];
    const banded = this.#banded(priority);
    return bands.find((band) => band.priority === banded)?.beyondShare(tenant, weightOf({ weight })) ?? false;
  }

  /** Forgets tenants that have been idle for long. To be called now and then: it looks at every pool. */
  forgetIdle(nowMs: number): void {
    for (const pool of this.#pools.values()) {
      pool.forgetBefore(nowMs - this.limits.idleMsMax);
      if (pool.bands.length === 0) this.#pools.delete(pool.name);
    }
  }

  /** Ends what has waited too long, the first due first. */
  tick(nowMs: number): readonly Entry<T>[] {
    let entry = this.#room.due(nowMs);
    if (entry === undefined) return nobody;
    const ended: Entry<T>[] = [];
    for (; entry !== undefined; entry = this.#room.due(nowMs)) {
      this.#leave(entry as Entry<T>, overdueOutcome(entry as Entry<T>));
      ended.push(entry as Entry<T>);
    }
    return ended;
  }

  /** What a dispatched request has really used; nothing of it where it was never served. Once: later calls change nothing. */
  settle(ticket: Ticket, inputTokens: number, outputTokens: number): void {
    ticket.tenant.band.settle(ticket, this.#cost(inputTokens, outputTokens));
  }

  #leave(entry: Entry<T>, outcome: FlowOutcome): void {
    const pool = this.#pools.get(entry.request.pool) as Pool;
    this.#ended(entry, outcome);
    this.#room.remove(entry);
    entry.tenant.band.remove(entry);
    pool.waiting--;
  }

  #ended(entry: Entry<T>, outcome: FlowOutcome): void {
    entry.outcome = outcome;
    this.ended[outcome]++;
  }

  #pool(name: string): Pool {
    let pool = this.#pools.get(name);
    if (pool === undefined) {
      pool = new Pool(name, this.limits, this.#order);
      this.#pools.set(name, pool);
    }
    return pool;
  }

  #banded(priority: number): number {
    const { priorityMax } = this.limits;
    return Number.isNaN(priority) ? 0 : Math.max(-priorityMax, Math.min(priorityMax, Math.round(priority)));
  }

  #cost(inputTokens: number, outputTokens: number): number {
    const { inputWeight, outputWeight } = this.limits;
    return inputWeight * counted(inputTokens) + outputWeight * counted(outputTokens);
  }
}

/** A counter that once took in NaN would be out of order for good. */
const counted = (tokens: number): number => (tokens > 0 && tokens < Number.POSITIVE_INFINITY ? tokens : 0);

const weightMin = 1e-3;
const weightOf = ({ weight }: Pick<FlowIdentity, 'weight'>): number => (weight > weightMin ? weight : weightMin);

function overdueOutcome({ request, dueMs }: Entry<unknown>): FlowOutcome {
  if (dueMs === request.deadlineMs) return 'evicted_deadline';
  return request.lacks === 'replica' ? 'rejected_no_replica' : 'evicted_wait';
}
