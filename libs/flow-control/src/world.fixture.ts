import { SeededRng } from '#libs/kernel';
import { evictedBefore, turnOrders } from './entry.ts';
import type { Entry, Ticket, TurnOrder } from './entry.ts';
import { FlowControl } from './flow-control.ts';
import type { FlowLimits } from './limits.ts';

interface Payload {
  /** Of the replicas that it may go to; one of them may be stuck. */
  readonly label: number;
  readonly outputTokens: number;
}

interface Served {
  readonly ticket: Ticket;
  readonly endMs: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
}

const pool = 'm';
const inputTokensMax = 400;
const outputTokensMax = 300;

/** What must hold, with words for what broke it. */
function hold(law: string, holds: boolean, what: string): void {
  if (!holds) throw new Error(`${law}: ${what}`);
}

/**
 * Random tenants in random bands before a few slots, by virtual time. Each step is looked at by brute force: every waiting request is
 * known here as well, in a plain list.
 */
export class FlowWorld {
  readonly flow: FlowControl<Payload>;
  readonly #rng: SeededRng;
  readonly #order: TurnOrder;
  readonly #limits: Partial<FlowLimits>;
  readonly #slots: number;
  readonly #tenants: readonly { readonly id: string; readonly weight: number }[];
  readonly #bands: number;
  readonly #waiting = new Set<Entry<Payload>>();
  readonly #seen = new Set<Entry<Payload>>();
  readonly #passedOver = new Map<number, number>();
  #running: Served[] = [];
  #stuckLabel = -1;
  #nowMs = 0;
  readonly outcomes = new Map<string, number>();

  constructor(seed: number) {
    const rng = (this.#rng = new SeededRng(seed));
    this.#limits = {
      waitingMax: 3 + rng.below(30),
      waitingBytesMax: 200 + rng.below(3_000),
      tenantRoomFactor: 0.5 + rng.next() * 3,
      passedOverMax: 2 + rng.below(8),
      skipsMax: 8,
      evictionsMax: 1 + rng.below(6),
    };
    this.#order = rng.chance(0.5) ? 'fcfs' : 'deadline';
    this.flow = new FlowControl({ limits: this.#limits, order: this.#order });
    this.#slots = 1 + rng.below(5);
    this.#bands = 1 + rng.below(3);
    this.#tenants = Array.from({ length: 1 + rng.below(6) }, (_, at) => ({ id: `t${at}`, weight: 1 + rng.below(4) }));
  }

  run(steps: number): void {
    for (let step = 0; step < steps; step++) {
      this.#nowMs += this.#rng.below(40);
      this.#finish();
      this.#tick();
      const draw = this.#rng.next();
      if (draw < 0.65) this.#arrive();
      else if (draw < 0.75) this.#clientLeaves();
      else if (draw < 0.8) this.#stuckLabel = this.#rng.below(4) - 1;
      this.#dispatch();
      this.#check();
    }
    this.#stuckLabel = -1;
    while (this.#waiting.size > 0 || this.#running.length > 0) {
      this.#nowMs += 50;
      this.#finish();
      this.#tick();
      this.#dispatch();
      this.#check();
    }
    this.#idle();
  }

  #arrive(): void {
    const rng = this.#rng;
    const { id, weight } = this.#tenants[rng.below(this.#tenants.length)] as { id: string; weight: number };
    const identity = {
      pool,
      priority: rng.below(this.#bands),
      tenant: id,
      weight,
      inputTokens: 1 + rng.below(inputTokensMax),
      outputTokens: rng.below(outputTokensMax),
      arrivedMs: this.#nowMs,
    };
    const outputTokens = rng.chance(0.5) ? identity.outputTokens : rng.below(outputTokensMax);
    if (this.flow.waitingIn(pool) === 0 && this.#running.length < this.#slots) {
      this.#serve(this.flow.pass(identity), identity.inputTokens, outputTokens);
      this.#count('dispatched');
      return;
    }
    const known = [...this.#waiting];
    // Nobody of a band that was empty in between has been passed over.
    if (known.every(({ priority }) => priority !== identity.priority)) this.#passedOver.delete(identity.priority);
    const leastWaiting = this.#leastCounter(identity.priority);
    const { entry, evicted } = this.flow.offer({
      ...identity,
      waitMsMax: 50 + rng.below(3_000),
      deadlineMs: rng.chance(0.3) ? this.#nowMs + rng.below(800) : Number.POSITIVE_INFINITY,
      bytes: 1 + rng.below(200),
      lacks: rng.chance(0.1) ? 'replica' : 'room',
      payload: { label: rng.below(4), outputTokens },
    });
    this.#evictionOrder(entry, evicted, known);
    if (entry.outcome === undefined) {
      this.#waiting.add(entry);
      const counter = this.flow.counterOf(identity) ?? -1;
      const alone = known.every((one) => one.tenant !== entry.tenant);
      hold('L44', !alone || counter >= leastWaiting, `${id} came in at ${counter}, below ${leastWaiting}`);
    } else this.#ended(entry);
    for (const victim of evicted) this.#ended(victim);
  }

  /** L46: whoever goes is worse than the newcomer and than all that stay. */
  #evictionOrder(entry: Entry<Payload>, evicted: readonly Entry<Payload>[], known: readonly Entry<Payload>[]): void {
    if (entry.outcome !== undefined) {
      hold('L46', evicted.length === 0, 'somebody went for a request that found no place');
      return;
    }
    for (const victim of evicted) {
      hold('L46', !evictedBefore(entry, victim), 'the newcomer was worse than its victim');
      for (const other of known) {
        const stays = !evicted.includes(other);
        hold('L46', !stays || !evictedBefore(other, victim), 'a worse one stayed');
      }
    }
  }

  #dispatch(): void {
    const fits = (entry: Entry<unknown>): boolean =>
      (entry as Entry<Payload>).request.payload.label !== this.#stuckLabel;
    while (this.#running.length < this.#slots) {
      const counters = new Map([...this.#waiting].map(({ tenant }) => [tenant, tenant.counter]));
      const entry = this.flow.next(pool, fits);
      const heads = [...this.#heads()];
      if (entry === undefined) {
        hold('L43', !heads.some(fits), 'a request whose turn it was and that had room was left waiting');
        return;
      }
      const { tenant, request, priority } = entry;
      hold('L44', heads.includes(entry), 'another request of the tenant was due before');
      for (const head of heads) {
        if (head.tenant.band !== tenant.band || !fits(head)) continue;
        const own = counters.get(tenant) as number;
        const other = counters.get(head.tenant) as number;
        hold('L44', own <= other, `a tenant at ${own} went before one at ${other}`);
      }
      this.#bandTurns(priority, heads.filter(fits));
      this.#waiting.delete(entry);
      this.#ended(entry);
      this.#serve(entry.ticket as Ticket, request.inputTokens, request.payload.outputTokens);
    }
  }

  /** L45: a band with somebody to go is passed over so many times and no more. */
  #bandTurns(served: number, heads: readonly Entry<Payload>[]): void {
    const { passedOverMax } = this.flow.limits;
    for (let band = 0; band < this.#bands; band++) {
      const waits = heads.some(({ priority }) => priority === band);
      const times = band === served || !waits ? 0 : (this.#passedOver.get(band) ?? 0) + 1;
      hold('L45', times <= passedOverMax + this.#bands, `band ${band} was passed over ${times} times`);
      this.#passedOver.set(band, times);
    }
  }

  #serve(ticket: Ticket, inputTokens: number, outputTokens: number): void {
    this.#running.push({ ticket, endMs: this.#nowMs + 5 + outputTokens, inputTokens, outputTokens });
  }

  #finish(): void {
    const over = this.#running.filter(({ endMs }) => endMs <= this.#nowMs);
    this.#running = this.#running.filter(({ endMs }) => endMs > this.#nowMs);
    for (const { ticket, inputTokens, outputTokens } of over) {
      if (this.#rng.chance(0.1)) this.flow.settle(ticket, 0, 0);
      else this.flow.settle(ticket, inputTokens, outputTokens);
      const { counter } = ticket.tenant;
      this.flow.settle(ticket, inputTokensMax, outputTokensMax);
      hold('L44', counter === ticket.tenant.counter && counter >= 0, `a counter at ${counter} was settled twice`);
    }
  }

  #tick(): void {
    for (const entry of this.flow.tick(this.#nowMs)) {
      hold('L45', entry.dueMs <= this.#nowMs, 'somebody was sent away early');
      this.#waiting.delete(entry);
      this.#ended(entry);
    }
    for (const { dueMs } of this.#waiting) hold('L45', dueMs > this.#nowMs, 'somebody waits beyond its bound');
  }

  #clientLeaves(): void {
    const all = [...this.#waiting];
    const entry = all[this.#rng.below(Math.max(1, all.length))];
    if (entry === undefined) return;
    hold('L42', this.flow.leave(entry, 'client_gone'), 'who waits could not leave');
    hold('L42', !this.flow.leave(entry, 'client_gone'), 'a request left twice');
    this.#waiting.delete(entry);
    this.#ended(entry);
  }

  #ended(entry: Entry<Payload>): void {
    hold('L42', entry.outcome !== undefined && !this.#seen.has(entry), 'an end was told twice');
    this.#seen.add(entry);
    this.#waiting.delete(entry);
    this.#count(entry.outcome as string);
  }

  #count(outcome: string): void {
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
  }

  #check(): void {
    const { flow } = this;
    const { waitingMax, waitingBytesMax } = flow.limits;
    const told = Object.values(flow.ended).reduce((sum, count) => sum + count, 0);
    hold('L42', flow.offered === told + flow.waiting, 'offered is not ended and waiting');
    hold('L42', flow.waitingIn(pool) === this.#waiting.size, 'the pool counts others');
    hold('L42', flow.waiting === this.#waiting.size, `it holds ${flow.waiting}, known are ${this.#waiting.size}`);
    const bytes = [...this.#waiting].reduce((sum, { request }) => sum + request.bytes, 0);
    hold('L42', flow.waitingBytes === bytes, 'bytes are not those of who waits');
    hold('L46', flow.waiting <= waitingMax && bytes <= waitingBytesMax, 'over a bound');
    for (const [outcome, count] of this.outcomes) {
      hold('L42', flow.ended[outcome as keyof typeof flow.ended] === count, `${outcome} is counted wrongly`);
    }
    for (const { tenant } of this.#waiting) hold('L44', tenant.counter >= 0, 'a negative counter');
  }

  /** With all over for long nothing is kept. */
  #idle(): void {
    const { flow } = this;
    flow.forgetIdle(this.#nowMs + 1 + flow.limits.idleMsMax);
    for (const { id } of this.#tenants) {
      for (let priority = 0; priority < this.#bands; priority++)
        hold('L44', flow.counterOf({ pool, priority, tenant: id }) === undefined, 'an idle counter was kept');
    }
    let bands = 0;
    flow.waitingByPriority(() => bands++);
    hold('L42', bands === 0 && flow.nextDueMs === Number.POSITIVE_INFINITY, 'an empty queue keeps bands');
  }

  #leastCounter(priority: number): number {
    const counters = [...this.#waiting].flatMap((one) => (one.priority === priority ? [one.tenant.counter] : []));
    return counters.length === 0 ? 0 : Math.min(...counters);
  }

  /** The next one of each tenant, by brute force. With the one just taken out still among those that wait. */
  *#heads(): Iterable<Entry<Payload>> {
    const heads = new Map<unknown, Entry<Payload>>();
    for (const entry of this.#waiting) {
      const best = heads.get(entry.tenant);
      if (best === undefined || turnOrders[this.#order](entry, best)) heads.set(entry.tenant, entry);
    }
    yield* heads.values();
  }
}
