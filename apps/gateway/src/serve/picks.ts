import { route } from '#libs/contracts';
import type { ResolvedProfile } from '#libs/domain/route';
import type { Asked, Flight, SignalGroups } from '#libs/latency-model';
import { FleetSignals, signalGroups } from '#libs/latency-model';
import type { BlockHashes } from '#libs/prefix-index';
import { hashBlocks, PrefixIndex } from '#libs/prefix-index';
import type { CapturedPick, CapturedPrefix } from '#libs/recording';
import { capturePick } from '#libs/recording';
import type { CompiledPipeline, RequestFeatures } from '#libs/scheduling';
import { CandidateTable, Scheduler } from '#libs/scheduling';
import type { FleetReplica, Routability } from '../fleet/fleet.ts';
import type { ExactPrefix } from '../kv/exact-prefix.ts';
import { answersAlone, writeRoles } from './pd/traits.ts';
import type { Selector } from './selector.ts';

/** What a profile comes to in this process. The same object as long as the profile's is. */
export interface RoutePlan {
  readonly profile: ResolvedProfile;
  readonly compiled: CompiledPipeline;
  readonly readsPrefix: boolean;
  readonly readsSession: boolean;
  readonly readsAdapter: boolean;
  /** It pairs prefill and decode replicas; else each is asked for all of a request. */
  readonly readsRoles: boolean;
  /** What it reads of that which the gateway learns itself. */
  readonly signals: SignalGroups;
}

/** What a pick chooses among, and for what. */
export interface PickRequest {
  readonly plan: RoutePlan;
  readonly features: RequestFeatures;
  readonly blocks: BlockHashes | undefined;
  readonly replicas: readonly FleetReplica[];
  readonly selector: Selector | undefined;
  readonly asked: Asked;
  /** The prompt in the engine's own blocks, where all is known of who has them: then `blocks` only are remembered. */
  readonly exact?: ExactPrefix | undefined;
  /** Why it is not known, where its tokens are. */
  readonly inexact?: string | undefined;
  /** The model's name where it is an adapter, else ''. */
  readonly adapter?: string;
  /** It may be computed in two places. */
  readonly splittable?: boolean;
}

export interface Picked {
  readonly replica: FleetReplica | undefined;
  /** Undefined while nothing is recorded. */
  readonly captured: CapturedPick | undefined;
  readonly prefixBlocksMatched: number;
  /** Computes the prompt for the replica. */
  readonly partner?: FleetReplica | undefined;
  readonly partnerBlocksMatched?: number;
}

/** The part of a request that a replica has where it is handed over. */
export interface Part {
  readonly outputTokens?: number;
  /** Prompt tokens that come from elsewhere. */
  readonly transferredTokens?: number;
}

const all: Part = {};
const nothingCame = { whole: false, promptTokens: 0, outputTokens: 0, cachedTokens: Number.NaN };
const none: Picked = { replica: undefined, captured: undefined, prefixBlocksMatched: 0 };

/** Chooses replicas: one table, one index, one count of seeds for all requests of the gateway. Synchronous. */
export class Picks {
  /** What requests in flight and their answers tell of the replicas. */
  readonly signals = new FleetSignals();
  readonly #scheduler = new Scheduler();
  readonly #plans = new WeakMap<ResolvedProfile, RoutePlan>();
  readonly #index = new PrefixIndex();
  readonly #table = new CandidateTable();
  readonly #rows: FleetReplica[] = [];
  readonly #capture: boolean;
  #latest: RoutePlan | undefined;
  #seed: number;

  constructor(options: { readonly capture: boolean; readonly seed: number }) {
    this.#capture = options.capture;
    this.#seed = options.seed >>> 0;
  }

  get prefixBlocks(): number {
    return this.#index.size;
  }

  /** @throws SCHEDULING_PLUGIN_MISSING, SCHEDULING_PARAM_INVALID */
  plan(profile: ResolvedProfile): RoutePlan {
    if (this.#latest?.profile === profile) return this.#latest;
    const known = this.#plans.get(profile);
    if (known !== undefined) return (this.#latest = known);
    const compiled = this.#scheduler.compiled(profile.spec);
    const plan: RoutePlan = {
      profile,
      compiled,
      readsPrefix: compiled.reads.includes('prefixBlocks'),
      readsRoles: compiled.reads.includes('roles'),
      readsAdapter: compiled.reads.includes('adapterResident'),
      readsSession: profile.spec.scorers.some(({ type }) => type === 'session'),
      signals: signalGroups(compiled.reads),
    };
    this.#plans.set(profile, plan);
    return plan;
  }

  /** Blocks of a prompt; adapters are models of their own, so that model and salt keep prompts apart. */
  blocks(model: string, cacheSalt: string, prompt: Uint8Array): BlockHashes {
    return hashBlocks(cacheSalt === '' ? model : `${model}\0${cacheSalt}`, prompt);
  }

  /** `tried` are left out. */
  pick(request: PickRequest, tried: readonly FleetReplica[], nowMs: number): Picked {
    const { plan, features, blocks } = request;
    const table = this.#table;
    const rows = this.#rows;
    rows.length = 0;
    table.reset();
    if (plan.signals.any) this.signals.ask(request.asked, plan.signals, nowMs);
    // A replica that has not answered yet is asked only where none has.
    if (!this.#collect(request, tried, 'ready', nowMs) && !this.#collect(request, tried, 'unknown', nowMs)) return none;
    if (request.exact !== undefined) request.exact.write(table, nowMs);
    else if (blocks !== undefined) {
      this.#index.match(blocks, table.ids, table.values('prefixBlocks'));
      table.agesMs('prefixBlocks').fill(0, 0, table.count);
    }
    const seed = this.#seed;
    this.#seed = (seed + 1) >>> 0;
    const decision = plan.compiled.decide(features, table, seed);
    const { chosen } = decision;
    const captured = this.#capture
      ? capturePick(plan.compiled, plan.profile.pipeline, table, seed, decision, prefixOf(request))
      : undefined;
    const replica = chosen < 0 ? undefined : rows[chosen];
    const matched = chosen < 0 ? 0 : depthAt(request, table, chosen);
    const at = decision.partner;
    if (at >= 0) {
      const partner = rows[at];
      const partnerBlocksMatched = depthAt(request, table, at);
      rows.length = 0;
      return { replica, captured, prefixBlocksMatched: matched, partner, partnerBlocksMatched };
    }
    rows.length = 0;
    return { replica, captured, prefixBlocksMatched: matched };
  }

  /** The request goes there: what the replica is about to have cached, and what it has to do. */
  dispatched(
    request: PickRequest,
    replica: FleetReplica,
    blocksMatched: number,
    stream: boolean,
    nowMs: number,
    part: Part = all,
  ): Flight {
    const { blocks, features, asked, adapter = '' } = request;
    if (adapter !== '') replica.adapterSent(adapter);
    if (blocks !== undefined && blocks.length > 0) this.#index.insert(blocks, replica.id);
    request.exact?.dispatched(replica.id, nowMs);
    const { signals } = this;
    const load = signals.replica(replica.id);
    const { promptTokens, prefixBlocks } = features;
    const { tenant, model } = asked;
    const { transferredTokens } = part;
    const share = prefixBlocks > 0 ? (promptTokens * blocksMatched) / prefixBlocks : 0;
    const held = request.exact === undefined ? share : blocksMatched * request.exact.blockTokens;
    const cachedTokens = transferredTokens === undefined ? held : promptTokens;
    const outputTokens = part.outputTokens ?? signals.outputTokens(asked);
    const sent = { tenant, model, promptTokens, cachedTokens, outputTokens, stream, transferredTokens };
    return signals.sent(load, signals.latency(load, model, replica.engine), sent, nowMs);
  }

  /** Holds a place among those that decode there for a request whose prompt is computed elsewhere meanwhile. */
  reserve({ asked }: PickRequest, replica: FleetReplica, nowMs: number): Flight {
    const { signals } = this;
    const load = signals.replica(replica.id);
    const { tenant, model } = asked;
    const sent = { tenant, model, promptTokens: 1, cachedTokens: 0, outputTokens: Number.NaN, stream: true };
    const flight = signals.sent(load, signals.latency(load, model, replica.engine), sent, nowMs);
    load.begun(flight, nowMs);
    return flight;
  }

  release(reserved: Flight, nowMs: number): void {
    this.signals.landed(reserved, nothingCame, nowMs);
  }

  /** Of own requests there without a first token; NaN while no model says when that of a request which does not stream should have come. */
  prefillTokensOf(replicaId: string): number {
    const load = this.signals.replicas.get(replicaId);
    if (load === undefined) return 0;
    return load.latency?.of.ttftKnown === true ? load.prefillTokens : Number.NaN;
  }

  forget(replicaId: string): void {
    this.#index.forgetReplica(replicaId);
    this.signals.forget(replicaId);
  }

  #collect(request: PickRequest, tried: readonly FleetReplica[], wanted: Routability, nowMs: number): boolean {
    const { replicas, selector, plan, asked, adapter = '' } = request;
    const { signals } = this;
    for (const replica of replicas) {
      if (replica.routability(nowMs) !== wanted || (tried.length > 0 && tried.includes(replica))) continue;
      if (selector !== undefined && !selector(replica.labels)) continue;
      if (!plan.readsRoles && !answersAlone(replica)) continue;
      const row = this.#table.add(replica.id);
      replica.describe(this.#table, row, nowMs);
      if (adapter !== '' && plan.readsAdapter)
        this.#table.set(row, 'adapterResident', replica.adapterResident(adapter), 0);
      if (plan.readsRoles) writeRoles(this.#table, row, replica, request.splittable === true);
      if (plan.signals.any) {
        const load = signals.replica(replica.id);
        const latency = signals.latency(load, asked.model, replica.engine);
        signals.write(this.#table, row, load, latency, plan.signals, nowMs, replica.workElsewhere);
      }
      this.#rows.push(replica);
    }
    return this.#rows.length > 0;
  }
}

/** 0 where it is not known: what is sent there is then taken to be computed. */
function depthAt({ exact, blocks }: PickRequest, table: CandidateTable, row: number): number {
  if (exact === undefined && blocks === undefined) return 0;
  const depth = table.values('prefixBlocks')[row] as number;
  return Number.isNaN(depth) ? 0 : depth;
}

const byText: CapturedPrefix = { source: route.PrefixSource.TEXT, blockTokens: 0, degraded: '' };

/** By what the depths of a pick are known. */
function prefixOf({ exact, blocks, inexact }: PickRequest): CapturedPrefix | undefined {
  if (exact !== undefined)
    return { source: route.PrefixSource.KV_EVENTS, blockTokens: exact.blockTokens, degraded: '' };
  if (inexact !== undefined) return { ...byText, degraded: inexact };
  return blocks === undefined ? undefined : byText;
}
