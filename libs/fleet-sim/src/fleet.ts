import type { EngineListener, SequenceRequest, SequenceView } from '#libs/engine-model';
import { EngineModel } from '#libs/engine-model';
import { CodedError, Heap, mix32, SeededRng } from '#libs/kernel';
import type { Work } from '#libs/latency-model';
import { compilePipeline, resolveStrategy } from '#libs/scheduling';
import type { Observed } from './feeds.ts';
import { SimGateway } from './gateway.ts';
import type { PrefixKnowledge } from './knowledge.ts';
import { ApproximateKnowledge, IdealKnowledge } from './knowledge.ts';
import { learnedFeeds } from './learned-feeds.ts';
import { FleetLawBroken, LawBook } from './laws.ts';
import { fleetSimLimits as limits } from './limits.ts';
import { Outcomes } from './outcomes.ts';
import { PreciseKnowledge } from './precise-knowledge.ts';
import type { FleetReport } from './report.ts';
import { latencies, windowOf } from './report.ts';
import type { SimRequest } from './request.ts';
import { tokensOf } from './request.ts';
import type { FleetOptions, Knowledge, ReplicaSpec } from './types.ts';

/** What the queue of the run holds; engines keep their own next event. */
interface Event {
  readonly atMs: number;
  /** Equal times go in the order in which they were made. */
  readonly order: number;
  readonly what: 'arrive' | 'poll' | 'tell';
  readonly request?: SimRequest;
  readonly gateway?: number;
  readonly replica?: number;
}

/** The last word of a gateway about what it has in flight. */
interface Told {
  readonly inflight: Int32Array;
  /** By replica; undefined where the strategy learns nothing of it. */
  readonly work: (Work | undefined)[];
  atMs: number;
}

/** One request as the engine has it. */
class Dispatched implements SequenceRequest {
  readonly finish = 'stop';
  readonly outputTokens: number;

  constructor(
    readonly sim: SimRequest,
    readonly prompt: Int32Array,
    readonly gateway: number,
  ) {
    this.outputTokens = sim.outputTokens;
  }

  token(index: number): number {
    return this.sim.outputFirst + index;
  }
}

const engineBlockTokens = 16;
const engineSeed = 1;

function engineOf(spec: ReplicaSpec, listener: EngineListener): EngineModel {
  const { profile, speed, blocks = profile.kvBlocks, maxNumSeqs = 256, maxNumBatchedTokens = 2_048 } = spec;
  return new EngineModel(
    {
      profile,
      speed,
      blocks,
      maxNumSeqs,
      maxNumBatchedTokens,
      blockSize: engineBlockTokens,
      prefixCaching: true,
      maxLoras: 1,
      // One seed for all, so that a chain of hashes made once can be looked up in each.
      seed: engineSeed,
    },
    listener,
  );
}

/** The fleet on one virtual clock. Made for one run. */
class FleetRun {
  readonly #options: FleetOptions;
  readonly #engines: readonly EngineModel[];
  readonly #engineNextMs: Float64Array;
  readonly #busyMs: Float64Array;
  readonly #gateways: readonly SimGateway[];
  /** Of each gateway that hears the engines' KV events. */
  readonly #listeners: PreciseKnowledge[] = [];
  readonly #told: readonly Told[];
  readonly #laws: LawBook;
  readonly #outcomes: Outcomes;
  /** By request: prompt tokens believed to be cached where it went. */
  readonly #believed: Float64Array;
  readonly #notes = new Map<string, number>();
  readonly #rng: SeededRng;
  readonly #queue = new Heap<Event>((a, b) => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order));
  #order = 0;
  #nowMs = 0;
  #picks = 0;
  #spreadSum = 0;
  #spreadCount = 0;

  constructor(options: FleetOptions) {
    this.#options = options;
    const { workload, replicas, strategy, params, knowledge = 'approximate', gateways = 1, seed } = options;
    bounded('replicas', replicas.length, 1, limits.replicasMax);
    bounded('gateways', gateways, 1, limits.gatewaysMax);
    bounded('requests', workload.count, 1, limits.requestsMax);
    this.#rng = new SeededRng(mix32(seed) ^ 0x5f1ee7);
    this.#laws = new LawBook(workload.count, replicas.length);
    this.#outcomes = new Outcomes(workload.count);
    this.#believed = new Float64Array(workload.count);
    this.#engineNextMs = new Float64Array(replicas.length).fill(Infinity);
    this.#busyMs = new Float64Array(replicas.length);
    this.#engines = replicas.map((spec, index) => engineOf(spec, this.#listener(index)));
    const spec = resolveStrategy(strategy, params);
    const replicaIds = replicas.map(({ id }) => id);
    this.#gateways = Array.from({ length: gateways }, (_, index) => {
      return new SimGateway({
        index,
        replicaIds,
        pipeline: compilePipeline(spec),
        knowledge: this.#knowledge(knowledge, replicaIds),
        feeds: (options.feeds ?? learnedFeeds)(),
        seed: this.#rng.uint32(),
        laws: this.#laws,
      });
    });
    this.#told = this.#gateways.map(() => ({
      inflight: new Int32Array(replicas.length),
      work: replicas.map(() => undefined),
      atMs: 0,
    }));
  }

  #knowledge(knowledge: Knowledge, replicaIds: readonly string[]): PrefixKnowledge {
    if (knowledge === 'ideal') return new IdealKnowledge(this.#engines);
    if (knowledge === 'approximate') return new ApproximateKnowledge(this.#options.workload.name, replicaIds);
    const precise = new PreciseKnowledge(replicaIds, engineBlockTokens);
    this.#listeners.push(precise);
    return precise;
  }

  run(): FleetReport {
    const { workload, replicas } = this.#options;
    for (const request of workload.arrivals) this.#push({ atMs: request.atMs, what: 'arrive', request });
    for (let gateway = 0; gateway < this.#gateways.length; gateway++) {
      for (let replica = 0; replica < replicas.length; replica++) {
        // The first poll is over before the first request; then each replica keeps its own beat.
        this.#poll(gateway, replica, 0);
        this.#push({ atMs: this.#rng.next() * this.#pollPeriodMs(), what: 'poll', gateway, replica });
      }
    }
    if (this.#gateways.length > 1) this.#push({ atMs: limits.tellPeriodMs, what: 'tell' });
    let events = 0;
    while (this.#laws.finished + this.#laws.refused < workload.count) {
      if (++events > limits.eventsMax) {
        throw new CodedError('FLEET_RUN_UNBOUNDED', `no end after ${limits.eventsMax} events`, {
          advice: 'Give fewer requests, or less load.',
        });
      }
      this.#next();
    }
    this.#check();
    this.#laws.end(workload.count);
    return this.#report();
  }

  /** The earliest event; engines before the queue where both are due, since what they end was begun before. */
  #next(): void {
    const nextMs = this.#engineNextMs;
    let engine = 0;
    for (let index = 1; index < nextMs.length; index++) {
      if ((nextMs[index] as number) < (nextMs[engine] as number)) engine = index;
    }
    const atMs = nextMs[engine] as number;
    const first = this.#queue.peek();
    if (first === undefined && atMs === Infinity) {
      throw new FleetLawBroken('L33', `requests are left at ${this.#nowMs} ms and nothing will happen any more`);
    }
    if (first === undefined || atMs <= first.atMs) {
      this.#moveTo(atMs);
      const model = this.#engines[engine] as EngineModel;
      model.advance(atMs);
      nextMs[engine] = model.nextEventMs();
      return;
    }
    const event = this.#queue.pop() as Event;
    this.#moveTo(event.atMs);
    if (event.what === 'arrive') this.#arrive(event.request as SimRequest);
    else if (event.what === 'poll') this.#pollAgain(event.gateway as number, event.replica as number);
    else this.#tell();
  }

  #moveTo(nowMs: number): void {
    this.#laws.time(nowMs);
    this.#nowMs = nowMs;
  }

  #push(event: Omit<Event, 'order'>): void {
    this.#queue.push({ ...event, order: this.#order++ });
  }

  #arrive(request: SimRequest): void {
    const { picked, trace } = this.#options;
    const nowMs = this.#nowMs;
    const { index } = request;
    this.#laws.arrive(index);
    const outcomes = this.#outcomes;
    outcomes.order.push(index);
    outcomes.arrivedMs[index] = nowMs;
    outcomes.promptTokens[index] = request.promptTokens;
    outcomes.outputTokens[index] = request.outputTokens;
    this.#noteSpread();
    const at = this.#gateways.length === 1 ? 0 : this.#rng.below(this.#gateways.length);
    const gateway = this.#gateways[at] as SimGateway;
    this.#hearOthers(at);
    const tokens = tokensOf(request);
    const decision = gateway.pick(request, gateway.readsPrefix ? tokens : undefined, nowMs);
    for (const note of decision.notes) this.#notes.set(note, (this.#notes.get(note) ?? 0) + 1);
    picked?.({ request, features: gateway.features, gateway: at, nowMs, table: gateway.table, decision });
    this.#picks++;
    const { chosen } = decision;
    const engine = this.#engines[chosen];
    if (engine === undefined || request.promptTokens + request.outputTokens > engine.tokensMax) {
      trace?.(`${nowMs} refuse ${index} ${chosen}`);
      this.#laws.refuse(index);
      this.#follow(request);
      return;
    }
    trace?.(`${nowMs} dispatch ${index} ${chosen} ${decision.notes.join(' ')}`);
    this.#laws.dispatch(index, chosen);
    outcomes.replica[index] = chosen;
    gateway.dispatched(chosen, nowMs);
    this.#believed[index] = gateway.cachedTokensOf(chosen);
    gateway.feeds.dispatched?.(this.#observed(request, chosen, Number.NaN, Number.NaN));
    engine.add(new Dispatched(request, tokens, at), nowMs);
    this.#engineNextMs[chosen] = engine.nextEventMs();
    if (this.#picks % limits.blockCheckPicks === 0) this.#check();
  }

  #listener(replica: number): EngineListener {
    return {
      token: (sequence) => {
        if (sequence.outputs === 1) this.#firstToken(replica, sequence);
      },
      finished: (sequence) => this.#finish(replica, sequence),
      // Engines tell nobody where nobody listens, which spares the run their events.
      ...(this.#options.knowledge === 'precise' && {
        kvEvents: (events, atMs) => {
          for (const listener of this.#listeners) listener.told(replica, events, atMs);
        },
      }),
      step: ({ startedMs, endedMs }) => {
        this.#busyMs[replica]! += endedMs - startedMs;
      },
    };
  }

  #firstToken(replica: number, sequence: SequenceView): void {
    const { sim, gateway } = sequence.request as Dispatched;
    this.#laws.firstToken(sim.index, replica);
    this.#outcomes.firstTokenMs[sim.index] = this.#nowMs;
    const { feeds } = this.#gateways[gateway] as SimGateway;
    feeds.firstToken?.(this.#observed(sim, replica, this.#nowMs, Number.NaN));
  }

  #finish(replica: number, sequence: SequenceView): void {
    const { sim, gateway } = sequence.request as Dispatched;
    const outcomes = this.#outcomes;
    this.#options.trace?.(`${this.#nowMs} finish ${sim.index} ${replica} ${sequence.cachedTokens}`);
    this.#laws.finish(sim.index, replica);
    outcomes.finishedMs[sim.index] = this.#nowMs;
    outcomes.cachedTokens[sim.index] = sequence.cachedTokens;
    const at = this.#gateways[gateway] as SimGateway;
    at.finished(replica);
    at.feeds.finished?.(
      this.#observed(sim, replica, outcomes.firstTokenMs[sim.index] as number, sequence.cachedTokens),
    );
    this.#follow(sim);
  }

  #follow({ next }: SimRequest): void {
    if (next === undefined) return;
    this.#push({ atMs: this.#nowMs + next.afterMs, what: 'arrive', request: next.request });
  }

  #observed(request: SimRequest, replica: number, firstTokenMs: number, cachedTokens: number): Observed {
    const arrivedMs = this.#outcomes.arrivedMs[request.index] as number;
    const { id: replicaId } = this.#options.replicas[replica] as ReplicaSpec;
    const believedTokens = this.#believed[request.index] as number;
    return { request, replica, replicaId, nowMs: this.#nowMs, arrivedMs, believedTokens, firstTokenMs, cachedTokens };
  }

  #pollPeriodMs(): number {
    return Math.max(limits.pollPeriodMs, (this.#engines.length * 1_000) / limits.pollsPerSecondMax);
  }

  #pollAgain(gateway: number, replica: number): void {
    this.#poll(gateway, replica, limits.pollAnswerMs);
    const jitter = 1 + limits.pollJitterShare * (2 * this.#rng.next() - 1);
    this.#push({ atMs: this.#nowMs + this.#pollPeriodMs() * jitter, what: 'poll', gateway, replica });
  }

  #poll(gateway: number, replica: number, answerMs: number): void {
    const { silent } = this.#options.replicas[replica] as ReplicaSpec;
    if (silent !== undefined && this.#nowMs >= silent.fromMs && this.#nowMs < silent.untilMs) return;
    const counts = (this.#engines[replica] as EngineModel).counts();
    const answer = { ...counts, atMs: this.#nowMs + answerMs, busyMs: this.#busyMs[replica] as number };
    (this.#gateways[gateway] as SimGateway).poll(replica, answer);
  }

  #tell(): void {
    for (const [at, gateway] of this.#gateways.entries()) {
      const told = this.#told[at] as Told;
      for (const view of gateway.views) {
        told.inflight[view.index] = view.inflight;
        told.work[view.index] = gateway.feeds.workOn?.(view.id);
      }
      told.atMs = this.#nowMs;
    }
    this.#push({ atMs: this.#nowMs + limits.tellPeriodMs, what: 'tell' });
  }

  #hearOthers(at: number): void {
    if (this.#gateways.length === 1) return;
    for (const view of (this.#gateways[at] as SimGateway).views) {
      view.inflightElsewhere = 0;
      view.elsewhereAgeMs = 0;
      const sum = { prefillTokens: 0, decoding: 0, outputTokens: 0 };
      view.workElsewhere = sum;
      for (const [other, { inflight, work, atMs }] of this.#told.entries()) {
        if (other === at) continue;
        const requests = inflight[view.index] as number;
        view.inflightElsewhere += requests;
        const needs = work[view.index];
        if (needs !== undefined) {
          sum.prefillTokens += needs.prefillTokens;
          sum.decoding += needs.decoding;
          sum.outputTokens += needs.outputTokens;
        } else if (requests > 0) view.workElsewhere = undefined;
        view.elsewhereAgeMs = Math.max(view.elsewhereAgeMs, this.#nowMs - atMs);
      }
    }
  }

  #inflight(replica: number): number {
    let sum = 0;
    for (const { views } of this.#gateways) sum += (views[replica] as { inflight: number }).inflight;
    return sum;
  }

  #noteSpread(): void {
    let most = 0;
    let sum = 0;
    for (let replica = 0; replica < this.#engines.length; replica++) {
      const inflight = this.#inflight(replica);
      if (inflight > most) most = inflight;
      sum += inflight;
    }
    if (sum < this.#engines.length) return;
    this.#spreadSum += (most * this.#engines.length) / sum;
    this.#spreadCount++;
  }

  #check(): void {
    for (const [replica, engine] of this.#engines.entries()) {
      try {
        engine.check();
      } catch (thrown) {
        throw new FleetLawBroken('L35', `replica ${replica}: ${(thrown as Error).message}`);
      }
      const { running, waiting } = engine.counts();
      this.#laws.inflight(replica, this.#inflight(replica), running + waiting);
    }
  }

  #report(): FleetReport {
    const { workload, strategy, knowledge = 'approximate', seed } = this.#options;
    const { length: replicas } = this.#engines;
    const perReplica = Array.from({ length: replicas }, () => 0);
    for (const replica of this.#outcomes.replica) if (replica >= 0) perReplica[replica]!++;
    const window = windowOf((workload.arrivals.at(-1) as SimRequest).atMs);
    return {
      workload: workload.name,
      strategy,
      knowledge,
      replicas,
      seed,
      requests: workload.count,
      refused: this.#laws.refused,
      ...latencies(this.#outcomes, workload.slo, window),
      loadSpread: this.#spreadCount > 0 ? this.#spreadSum / this.#spreadCount : Number.NaN,
      requestSpread: (Math.max(...perReplica) * replicas) / perReplica.reduce((sum, count) => sum + count, 0),
      perReplica,
      busyShare: this.#busyMs.reduce((sum, ms) => sum + ms, 0) / (this.#nowMs * replicas),
      preemptions: this.#engines.reduce((sum, engine) => sum + engine.counts().preemptions, 0),
      endMs: this.#nowMs,
      notes: Object.fromEntries([...this.#notes].sort(([a], [b]) => (a < b ? -1 : 1))),
      unfed: (this.#gateways[0] as SimGateway).unfed,
    };
  }
}

function bounded(what: string, value: number, least: number, most: number): void {
  if (value >= least && value <= most) return;
  throw new CodedError('FLEET_OPTIONS_INVALID', `${value} ${what}`, { advice: `Give ${least} to ${most}.` });
}

/**
 * Serves a whole workload and says how it went. Pure: the same options give the same report, byte for byte.
 * @throws FLEET_LAW_BROKEN · FLEET_OPTIONS_INVALID · FLEET_RUN_UNBOUNDED · what `resolveStrategy` throws
 */
export const simulateFleet = (options: FleetOptions): FleetReport => new FleetRun(options).run();
