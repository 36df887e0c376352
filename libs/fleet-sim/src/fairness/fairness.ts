import type { SequenceView } from '#libs/engine-model';
import { a100Llama8b, EngineModel } from '#libs/engine-model';
import type { LoadColumns, Ticket } from '#libs/flow-control';
import { FlowControl, roomBounds, roomOf } from '#libs/flow-control';
import { SeededRng } from '#libs/kernel';
import { exponential, logNormal } from '../draws.ts';
import type { Percentiles } from '../report.ts';
import { percentiles } from '../report.ts';

export interface FairnessTenant {
  readonly id: string;
  /** Of the fleet's tokens. */
  readonly weight: number;
  readonly requestsPerS: number;
}

export interface FairnessOptions {
  readonly tenants: readonly FairnessTenant[];
  readonly replicas: number;
  /** Requests that a replica runs at once. */
  readonly slots: number;
  readonly flowControl: boolean;
  readonly durationMs: number;
  /** Before it nothing is counted. */
  readonly warmupMs: number;
  readonly seed: number;
}

export interface TenantReport {
  readonly ttftMs: Percentiles;
  /** From arrival to dispatch. */
  readonly queuedMs: Percentiles;
  readonly arrived: number;
  /** Ended in the time that counts, whenever they came. */
  readonly answered: number;
  readonly refused: number;
  readonly tokensPerS: number;
}

interface Work {
  readonly tenant: FairnessTenant;
  readonly arrivedMs: number;
  readonly promptTokens: number;
  readonly outputTokens: number;
  dispatchedMs: number;
  ticket: Ticket | undefined;
}

/** Tokens that nobody shares: fairness is not to depend on who has whose prefix. */
const promptOf = (tokens: number, salt: number): Float64Array =>
  Float64Array.from({ length: tokens }, (_, at) => (salt * 8_191 + at) % 50_000);

const outputGuess = 100;

class FairFleet {
  readonly reports = new Map<string, { ttft: number[]; queued: number[]; counts: Counts }>();
  readonly #options: FairnessOptions;
  readonly #flow = new FlowControl<Work>();
  readonly #engines: EngineModel[] = [];
  readonly #inflight: Float64Array;
  /** Prompt tokens of requests without a first token. */
  readonly #prefill: Float64Array;
  readonly #columns: LoadColumns;
  readonly #works = new Map<SequenceView, Work>();
  /** A request ended or a prompt is computed: somebody may have room. */
  #freed = false;
  #prompts = 0;

  constructor(options: FairnessOptions) {
    this.#options = options;
    const { replicas, slots } = options;
    this.#inflight = new Float64Array(replicas);
    this.#prefill = new Float64Array(replicas);
    const unknown = new Float64Array(replicas).fill(Number.NaN);
    this.#columns = {
      count: replicas,
      inflight: this.#inflight,
      slots: new Float64Array(replicas).fill(slots),
      waiting: unknown,
      waitingAgeMs: unknown,
      running: unknown,
      runningAgeMs: unknown,
      kvUse: unknown,
      kvUseAgeMs: unknown,
      prefillTokens: this.#prefill,
    };
    for (let at = 0; at < replicas; at++) this.#engines.push(this.#engine(at));
    for (const { id } of options.tenants) {
      this.reports.set(id, { ttft: [], queued: [], counts: { arrived: 0, answered: 0, refused: 0, tokens: 0 } });
    }
  }

  #engine(at: number): EngineModel {
    const { slots, warmupMs } = this.#options;
    return new EngineModel(
      {
        profile: a100Llama8b,
        maxNumSeqs: slots,
        maxNumBatchedTokens: 512,
        blockSize: 16,
        blocks: a100Llama8b.kvBlocks,
        prefixCaching: false,
        maxLoras: 1,
        speed: 1,
        seed: at,
      },
      {
        token: (sequence, _token, nowMs) => {
          const work = this.#works.get(sequence) as Work;
          if (sequence.outputs === 1) {
            this.#prefill[at] = (this.#prefill[at] as number) - work.promptTokens;
            this.#freed = true;
          }
          if (sequence.outputs === 1 && work.arrivedMs >= warmupMs) {
            const { ttft, queued } = this.#of(work);
            ttft.push(nowMs - work.arrivedMs);
            queued.push(work.dispatchedMs - work.arrivedMs);
          }
          if (nowMs >= warmupMs) this.#of(work).counts.tokens++;
        },
        finished: (sequence, _reason, nowMs) => {
          const work = this.#works.get(sequence) as Work;
          this.#works.delete(sequence);
          this.#inflight[at] = (this.#inflight[at] as number) - 1;
          this.#freed = true;
          if (nowMs >= warmupMs) this.#of(work).counts.answered++;
          if (work.ticket !== undefined) this.#flow.settle(work.ticket, work.promptTokens, work.outputTokens);
        },
      },
    );
  }

  #of({ tenant }: Work): { ttft: number[]; queued: number[]; counts: Counts } {
    return this.reports.get(tenant.id) as { ttft: number[]; queued: number[]; counts: Counts };
  }

  nextMs(): number {
    return Math.min(this.#flow.nextDueMs, ...this.#engines.map((engine) => engine.nextEventMs()));
  }

  advance(nowMs: number): void {
    for (const engine of this.#engines) engine.advance(nowMs);
    for (const entry of this.#flow.tick(nowMs)) this.#refused(entry.request.payload);
    if (!this.#freed) return;
    this.#freed = false;
    this.#dispatch(nowMs);
  }

  #dispatch(nowMs: number): void {
    for (;;) {
      const entry = this.#flow.next('m', ({ request }) => this.#place(this.#flow.beyondShare(request)) >= 0);
      if (entry === undefined) return;
      entry.request.payload.ticket = entry.ticket;
      this.#send(entry.request.payload, this.#place(false), nowMs);
    }
  }

  arrive(work: Work, nowMs: number): void {
    if (work.arrivedMs >= this.#options.warmupMs) this.#of(work).counts.arrived++;
    if (!this.#options.flowControl) {
      this.#send(work, this.#place(undefined), nowMs);
      return;
    }
    const { tenant } = work;
    const identity = {
      pool: 'm',
      priority: 0,
      tenant: tenant.id,
      weight: tenant.weight,
      inputTokens: work.promptTokens,
      outputTokens: outputGuess,
      arrivedMs: nowMs,
    };
    const at = this.#place(this.#flow.beyondShare(identity));
    if (this.#flow.waitingIn('m') === 0 && at >= 0) {
      work.ticket = this.#flow.pass(identity);
      this.#send(work, at, nowMs);
      return;
    }
    const { entry, evicted } = this.#flow.offer({
      ...identity,
      waitMsMax: 10_000,
      deadlineMs: Number.POSITIVE_INFINITY,
      bytes: 4 * work.promptTokens,
      lacks: 'room',
      payload: work,
    });
    if (entry.outcome !== undefined) this.#refused(work);
    for (const one of evicted) this.#refused(one.request.payload);
    // What is kept for tenants below their share may be free while others wait.
    if (entry.outcome === undefined) this.#dispatch(nowMs);
  }

  #refused(work: Work): void {
    if (work.arrivedMs >= this.#options.warmupMs) this.#of(work).counts.refused++;
  }

  /** Least prefill ahead, then fewest in flight, among those with room; -1 is none. Undefined asks for no room. */
  #place(beyondShare: boolean | undefined): number {
    let best = -1;
    for (let at = 0; at < this.#inflight.length; at++) {
      if (beyondShare !== undefined && roomOf(this.#columns, at, roomBounds, beyondShare) === 0) continue;
      if (best < 0 || this.#loadOf(at) < this.#loadOf(best)) best = at;
    }
    return best;
  }

  #loadOf(at: number): number {
    return (this.#prefill[at] as number) + (this.#inflight[at] as number);
  }

  #send(work: Work, at: number, nowMs: number): void {
    work.dispatchedMs = nowMs;
    this.#prefill[at] = (this.#prefill[at] as number) + work.promptTokens;
    this.#inflight[at] = (this.#inflight[at] as number) + 1;
    const view = (this.#engines[at] as EngineModel).add(
      {
        prompt: promptOf(work.promptTokens, this.#prompts++),
        outputTokens: work.outputTokens,
        finish: 'length',
        token: (index) => index,
      },
      nowMs,
    );
    this.#works.set(view, work);
  }
}

interface Counts {
  arrived: number;
  answered: number;
  refused: number;
  tokens: number;
}

/** Tenants with Poisson arrivals before a fleet of engines, with flow control or without. Pure: the same options, the same report. */
export function simulateFairness(options: FairnessOptions): ReadonlyMap<string, TenantReport> {
  const fleet = new FairFleet(options);
  // A stream of draws for each tenant: what one sends does not depend on the others.
  const sources = options.tenants.map((tenant, at) => {
    const rng = new SeededRng(options.seed * 1_009 + at);
    const gapMs = 1_000 / tenant.requestsPerS;
    return { tenant, rng, gapMs, nextMs: exponential(rng, gapMs) };
  });
  for (;;) {
    const source = sources.reduce((first, one) => (one.nextMs < first.nextMs ? one : first));
    const nowMs = Math.min(source.nextMs, fleet.nextMs());
    if (nowMs > options.durationMs) break;
    fleet.advance(nowMs);
    if (source.nextMs > nowMs) continue;
    const { tenant, rng, gapMs } = source;
    const promptTokens = logNormal(rng, 300, 1.8, 16, 2_000);
    const outputTokens = logNormal(rng, 100, 1.6, 4, 400);
    source.nextMs = nowMs + exponential(rng, gapMs);
    fleet.arrive(
      { tenant, arrivedMs: nowMs, promptTokens, outputTokens, dispatchedMs: nowMs, ticket: undefined },
      nowMs,
    );
  }
  const seconds = (options.durationMs - options.warmupMs) / 1_000;
  return new Map(
    [...fleet.reports].map(([id, { ttft, queued, counts }]) => [
      id,
      {
        ttftMs: percentiles(Float64Array.from(ttft)),
        queuedMs: percentiles(Float64Array.from(queued)),
        arrived: counts.arrived,
        answered: counts.answered,
        refused: counts.refused,
        tokensPerS: counts.tokens / seconds,
      },
    ]),
  );
}
