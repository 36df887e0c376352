import type { IncomingHttpHeaders } from 'node:http';
import type { FlowProfile } from '#libs/domain/route';
import type { Entry, FlowIdentity, FlowLimits } from '#libs/flow-control';
import { FlowControl } from '#libs/flow-control';
import type { Environment, Timer } from '#libs/kernel';
import type { Registry } from '#libs/observability';
import type { Asker } from '../serve/asker.ts';
import type { Plane } from '../serve/plane.ts';
import { noneTakes, whyNone } from '../serve/routing.ts';
import { FlowMetrics } from './flow-metrics.ts';
import { gateLimits } from './limits.ts';
import type { FlowAsker, LeaveOutcome, Passage, QueuedRequest, Used } from './passage.ts';
import { refusalOf } from './refusals.ts';
import { deadlineOf, priorityOf } from './request-flow.ts';
import { Rooms } from './room.ts';

export interface FlowGateOptions {
  readonly environment: Environment;
  readonly metrics: Registry;
  /** Output tokens to expect of a request before it says. */
  readonly outputTokens: (asker: FlowAsker) => number;
  /** See `Rooms`. */
  readonly prefillTokensOf: (replicaId: string) => number;
  /** No replica of a pool takes requests, and one is wanted. */
  readonly wanted?: Plane['wanted'];
  readonly limits?: Partial<FlowLimits> | undefined;
}

export interface FlowArrival {
  readonly asker: FlowAsker;
  readonly flow: FlowProfile;
  readonly headers: IncomingHttpHeaders;
  readonly tenant: string;
  /** Of the key; undefined leaves it to the profile. */
  readonly priority?: number | undefined;
  /** Of the request's arrival at the gateway. */
  readonly startMs: number;
  readonly bodyBytes: number;
}

/** Of a request that its key's tenant, or nobody, answers for. */
export function arrivalOf(
  asker: FlowAsker,
  flow: FlowProfile,
  { account, request, startMs, body, key }: Pick<Asker, 'account' | 'request' | 'startMs' | 'body' | 'key'>,
): FlowArrival {
  const { tenantId: tenant } = account;
  return { asker, flow, headers: request.headers, tenant, priority: key?.priority, startMs, bodyBytes: body.length };
}

/**
 * Where every replica is full, requests wait here; each goes on when there is room and it is its turn. Looked at when a request ends, and
 * each `tickMs` while somebody waits.
 */
export class FlowGate {
  readonly #queue: FlowControl<QueuedRequest>;
  readonly #environment: Environment;
  readonly #outputTokens: (asker: FlowAsker) => number;
  readonly #wanted: Plane['wanted'];
  readonly #rooms: Rooms;
  readonly #pools = new Set<string>();
  readonly #metrics: FlowMetrics;
  #timer: Timer | undefined;

  constructor({ environment, metrics, outputTokens, prefillTokensOf, wanted, limits }: FlowGateOptions) {
    this.#wanted = wanted;
    this.#rooms = new Rooms(prefillTokensOf);
    this.#environment = environment;
    this.#outputTokens = outputTokens;
    this.#queue = new FlowControl({ order: 'deadline', ...(limits === undefined ? {} : { limits }) });
    this.#metrics = new FlowMetrics(metrics, this.#queue);
  }

  get waiting(): number {
    return this.#queue.waiting;
  }

  /** The request goes on at once (`ticket` is set), waits (`entry` is set), or is `refused`. */
  enter(arrival: FlowArrival): Passage {
    const { asker, flow, headers, startMs } = arrival;
    const nowMs = this.#nowMs();
    const identity = this.#identityOf(arrival, nowMs);
    const passage: Passage = {
      identity,
      enteredMs: nowMs,
      entry: undefined,
      ticket: undefined,
      full: [],
      refused: undefined,
    };
    const queue = this.#queue;
    const standing = this.#rooms.look(asker.where, flow, queue.beyondShare(identity));
    if (standing === 'room' && queue.waitingIn(identity.pool) === 0) {
      this.#go(passage);
      passage.ticket = queue.pass(identity);
      return passage;
    }
    if (standing === 'none' && noneTakes(asker.where)) {
      const waiting = queue.waitingIn(identity.pool) + (flow.wakeMsMax === 0 ? 0 : 1);
      this.#wanted?.(identity.pool, asker.where.replicas, waiting);
    }
    if (standing === 'none' && flow.wakeMsMax === 0) {
      passage.refused = whyNone(identity.pool, asker.where, String(headers['external-filter'] ?? ''));
      return passage;
    }
    const lacks = standing === 'none' ? 'replica' : 'room';
    const { entry, evicted } = queue.offer({
      ...identity,
      waitMsMax: lacks === 'replica' ? flow.wakeMsMax : flow.waitMsMax,
      deadlineMs: deadlineOf(flow, headers, startMs),
      bytes: arrival.bodyBytes,
      lacks,
      payload: { asker, passage },
    });
    if (entry.outcome !== undefined) {
      passage.refused = refusalOf(entry.outcome);
      return passage;
    }
    passage.entry = entry;
    for (const one of evicted) this.#end(one);
    this.#pools.add(identity.pool);
    this.#timer ??= this.#environment.timers.every(gateLimits.tickMs, () => this.#tick());
    // What is kept for tenants below their share may be free while others wait. Not in this turn: the caller has no passage yet.
    queueMicrotask(() => this.pump(identity.pool));
    return passage;
  }

  /** Its client is gone, or the gateway stops. */
  leave({ entry, ticket }: Passage, outcome: LeaveOutcome): number {
    if (entry === undefined || ticket !== undefined || !this.#queue.leave(entry, outcome)) return 0;
    const queuedMs = this.#nowMs() - entry.request.arrivedMs;
    this.#metrics.waited(entry.priority, queuedMs);
    return queuedMs;
  }

  /** It has ended: `used` is undefined where nobody can say, and null where no replica served it. Others may have room now. */
  settle({ identity, ticket }: Passage, used: Used | undefined | null): void {
    if (ticket === undefined) return;
    const { inputTokens, outputTokens } = identity;
    if (used === null) this.#queue.settle(ticket, 0, 0);
    else this.#queue.settle(ticket, used?.promptTokens ?? inputTokens, used?.completionTokens ?? outputTokens);
    this.pump(identity.pool);
  }

  /** Sends on whoever's turn it is, as long as there is room. */
  pump(pool: string): void {
    const queue = this.#queue;
    while (queue.waitingIn(pool) > 0) {
      const entry = queue.next(pool, this.#fits);
      if (entry === undefined) return;
      const { asker, passage } = entry.request.payload;
      const queuedMs = this.#nowMs() - entry.request.arrivedMs;
      this.#metrics.waited(entry.priority, queuedMs);
      passage.ticket = entry.ticket;
      const { flow } = asker.where.plan.profile;
      if (flow !== undefined) this.#rooms.look(asker.where, flow, false);
      this.#go(passage);
      asker.dispatch(queuedMs);
    }
  }

  forgetIdle(): void {
    this.#queue.forgetIdle(this.#nowMs());
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  readonly #fits = ({ request }: Entry<QueuedRequest>): boolean => {
    const { where } = request.payload.asker;
    const { flow } = where.plan.profile;
    return flow === undefined || this.#rooms.look(where, flow, this.#queue.beyondShare(request)) === 'room';
  };

  #go(passage: Passage): void {
    const { full } = this.#rooms;
    if (full.length > 0) passage.full = [...full];
  }

  #tick(): void {
    for (const entry of this.#queue.tick(this.#nowMs())) this.#end(entry);
    for (const pool of this.#pools) {
      this.pump(pool);
      if (this.#queue.waitingIn(pool) === 0) this.#pools.delete(pool);
    }
    if (this.#queue.waiting === 0) this.stop();
  }

  #end({ request, priority, outcome }: Entry<QueuedRequest>): void {
    const { asker } = request.payload;
    const queuedMs = this.#nowMs() - request.arrivedMs;
    this.#metrics.waited(priority, queuedMs);
    const refusal =
      outcome === 'rejected_no_replica' ? whyNone(request.pool, asker.where, '') : refusalOf(outcome ?? 'evicted_wait');
    asker.refuse(refusal, queuedMs);
  }

  #identityOf({ asker, flow, headers, tenant, priority }: FlowArrival, nowMs: number): FlowIdentity {
    const { asked, features } = asker.where;
    const weight = Object.hasOwn(flow.weights, tenant) ? (flow.weights[tenant] as number) : 1;
    return {
      pool: asked.model,
      priority: priorityOf(flow, headers, priority),
      tenant,
      weight,
      inputTokens: features.promptTokens,
      outputTokens: this.#outputTokens(asker),
      arrivedMs: nowMs,
    };
  }

  #nowMs(): number {
    return this.#environment.clock.monotonicMs();
  }
}
