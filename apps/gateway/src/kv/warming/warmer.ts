import type { MessageInitShape } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import type { Telemetry } from '#libs/event-log';
import type { Environment, Timer } from '#libs/kernel';
import { errorText } from '#libs/kernel';
import { kvSourceOf } from '#libs/kv-stream';
import { hashTokens } from '#libs/prefix-index';
import type { GatewayState } from '../../control/state.ts';
import type { CacheSalts } from '../../edge/cache-salt.ts';
import { takesSalt } from '../../edge/cache-salt.ts';
import type { IssueReplicaCommand } from '../../fleet/ejector.ts';
import type { LiveReplica } from '../../fleet/replica.ts';
import type { PreciseIndex, TokensSeen, TokensWatcher } from '../precise-index.ts';
import type { PrefixThere, ReplicaLoad, WarmingCandidate } from './decide.ts';
import { busyWith, decideWarming, warmerOf } from './decide.ts';
import type { HotPrefix } from './hot-prefixes.ts';
import { HotPrefixes } from './hot-prefixes.ts';
import type { WarmingLimits } from './limits.ts';
import { warmingLimits } from './limits.ts';
import type { WarmClient } from './warm-request.ts';
import { warmClient } from './warm-request.ts';
import { WarmingExchange } from './warming-exchange.ts';

const { AttemptEnd, ReplicaRole } = route;

export interface WarmerOptions {
  readonly gatewayId: string;
  readonly bootId: string;
  readonly environment: Environment;
  readonly telemetry: Telemetry;
  readonly kv: PreciseIndex;
  readonly replicas: () => readonly LiveReplica[];
  readonly state: () => GatewayState;
  readonly salts: CacheSalts;
  readonly issue: IssueReplicaCommand;
  readonly log: (line: string) => void;
  readonly limits?: WarmingLimits;
  /** Instead of HTTP, for tests. */
  readonly client?: (replica: LiveReplica) => WarmClient;
}

/** What is known of one registration's readiness. */
interface Watched {
  readonly replica: LiveReplica;
  ready: boolean;
  /** Ready, and not decided yet. */
  because: string | undefined;
  sinceMs: number;
  heldBlocks: number;
  warmedAtMs: number;
  /** Its own request of warming, now. */
  own: 0 | 1;
}

interface Warming {
  readonly watched: Watched;
  readonly abort: AbortController;
  readonly prefixes: readonly HotPrefix[];
  readonly startedMs: number;
  /** Set when it must end. */
  ended: string | undefined;
}

type WarmedInit = MessageInitShape<typeof route.WarmedPrefixSchema>;

/**
 * Has replicas that come new compute what many requests begin with, before such a request comes: for tenants that allow it. Counts
 * prefixes as requests pass, watches replicas come, and records what it had computed and why. Where no tenant allows it nothing of
 * this is done.
 */
export class Warmer implements TokensWatcher {
  readonly hot: HotPrefixes;
  readonly exchange: WarmingExchange;
  /** Replicas that came new, by what was decided and how it ended. */
  readonly decisions = new Map<string, number>();
  /** Prompt tokens that engines were asked to compute, and those of them that they had. */
  sentTokens = 0;
  cachedTokens = 0;
  readonly #options: WarmerOptions;
  readonly #limits: WarmingLimits;
  readonly #watched = new Map<string, Watched>();
  readonly #running = new Set<Promise<void>>();
  readonly #warmings = new Set<Warming>();
  #allowed: ReadonlySet<string> = new Set();
  #salted: ReadonlySet<string> = new Set();
  #tenancySeq = -1;
  #sinceMs = Infinity;
  #timer: Timer | undefined;

  constructor(options: WarmerOptions) {
    this.#options = options;
    this.#limits = options.limits ?? warmingLimits;
    const { gatewayId, bootId, telemetry, environment } = options;
    this.hot = new HotPrefixes(this.#limits);
    this.exchange = new WarmingExchange({ gatewayId, bootId, telemetry, environment, limits: this.#limits });
  }

  /** After the log was read: what is registered from here on is new. */
  async start(): Promise<void> {
    const { clock, timers } = this.#options.environment;
    await this.exchange.start();
    this.#sinceMs = clock.monotonicMs();
    this.look();
    this.#timer = timers.every(this.#limits.lookMs, () => this.look());
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    for (const warming of this.#warmings) this.#end(warming, 'stopping');
    await Promise.all(this.#running);
    await this.exchange.stop();
  }

  saw(
    { base, adapter, cacheSalt, tenantId }: TokensSeen,
    tokens: ArrayLike<number>,
    _exact: unknown,
    nowMs: number,
  ): void {
    if (!this.#allowed.has(tenantId)) return;
    // A salt that the client chose keeps apart what it does not want shared, also inside of its tenant.
    if (cacheSalt !== '' && !(this.#salted.has(tenantId) && cacheSalt === this.#options.salts.of(tenantId, ''))) return;
    this.hot.note({ model: base, adapter, cacheSalt }, tenantId, tokens, nowMs);
  }

  /** One look at tenants and replicas. */
  look(): void {
    this.#followTenants();
    if (this.#allowed.size === 0) return;
    const nowMs = this.#nowMs();
    this.exchange.tell(this.hot.models(nowMs));
    const seen = new Set<string>();
    for (const replica of this.#options.replicas()) {
      if (replica.provider !== undefined || replica.role === ReplicaRole.DECODE) continue;
      seen.add(replica.id);
      this.#watch(replica, nowMs);
    }
    for (const id of this.#watched.keys()) if (!seen.has(id)) this.#watched.delete(id);
  }

  #followTenants(): void {
    const { tenancy, tenancySeq } = this.#options.state();
    if (tenancySeq === this.#tenancySeq) return;
    this.#tenancySeq = tenancySeq;
    const allowed = new Set<string>();
    const salted = new Set<string>();
    for (const [id, { registration }] of tenancy.tenants) {
      if (registration?.warm !== true) continue;
      allowed.add(id);
      if (registration.cacheSalt) salted.add(id);
    }
    this.#allowed = allowed;
    this.#salted = salted;
    this.hot.keepOf((tenantId) => allowed.has(tenantId));
    const { watchers } = this.#options.kv;
    const at = watchers.indexOf(this);
    if (allowed.size > 0 && at < 0) watchers.push(this);
    if (allowed.size > 0 || at < 0) return;
    watchers.splice(at, 1);
    this.hot.clear();
    this.#watched.clear();
  }

  #watch(replica: LiveReplica, nowMs: number): void {
    let watched = this.#watched.get(replica.id);
    if (watched?.replica !== replica) {
      const ready = false;
      watched = { replica, ready, because: undefined, sinceMs: nowMs, heldBlocks: 0, warmedAtMs: -Infinity, own: 0 };
      this.#watched.set(replica.id, watched);
    }
    const state = replica.routabilityAt(nowMs);
    const held = this.#heldBlocks(replica.id, nowMs);
    if (state !== 'ready') watched.ready = false;
    else if (!watched.ready) {
      watched.ready = true;
      watched.sinceMs = nowMs;
      watched.because = replica.registeredAtMs > this.#sinceMs ? 'new' : 'came-back';
    } else if (watched.because === undefined && (held ?? Infinity) < watched.heldBlocks * this.#limits.clearedShare) {
      // What evictions let go something else takes the place of.
      watched.sinceMs = nowMs;
      watched.because = 'cleared';
    }
    if (held !== undefined) watched.heldBlocks = held;
    if (watched.because === undefined || this.#warmings.size >= this.#limits.replicasAtOnceMax) return;
    const because = watched.because;
    const decided = this.#decide(watched, because, held, state, nowMs);
    if (decided.kind === 'wait') return;
    watched.because = undefined;
    if (decided.kind === 'leave') return this.#count(`left:${decided.why}`);
    watched.warmedAtMs = nowMs;
    const warming: Warming = {
      watched,
      abort: new AbortController(),
      prefixes: decided.prefixes,
      startedMs: nowMs,
      ended: undefined,
    };
    const running = this.#warm(warming, because, held, decided.left).finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  #decide(
    watched: Watched,
    because: string,
    heldBlocks: number | undefined,
    state: WarmingCandidate['state'],
    nowMs: number,
  ): ReturnType<typeof decideWarming> {
    const { replica, sinceMs, warmedAtMs } = watched;
    const { gatewayId } = this.#options;
    if (nowMs - warmedAtMs < this.#limits.againMs) return { kind: 'leave', why: 'warmed-before' };
    // An adapter's prefixes stand with those of its base model.
    const models = (replica.models() ?? []).flatMap(({ id, parent }) => (parent === undefined ? [id] : []));
    const known = models.flatMap((model) => this.hot.hottest(model, nowMs));
    if (known.length > 0) {
      const gateways = models.flatMap((model) => this.exchange.gatewaysWith(model));
      if (warmerOf(gateways, replica.id) !== gatewayId) return { kind: 'leave', why: 'other-gateway' };
    }
    const blockTokens = this.#blockTokens(replica.id);
    const candidate: WarmingCandidate = {
      replicaId: replica.id,
      state,
      because,
      waitedMs: nowMs - sinceMs,
      hasEvents: hasEvents(replica),
      heldBlocks,
      blockTokens,
      load: loadOf(watched),
      takesSalt: takesSalt(replica),
    };
    return decideWarming(candidate, known, (prefix) => this.#there(prefix, replica, blockTokens), this.#limits);
  }

  async #warm(
    warming: Warming,
    because: string,
    heldBlocks: number | undefined,
    left: ReadonlyMap<string, number>,
  ): Promise<void> {
    const { watched, prefixes, startedMs } = warming;
    const { replica } = watched;
    const { environment, log } = this.#options;
    const { busyLookMs, replicaMsMax } = this.#limits;
    this.#warmings.add(warming);
    const client = this.#options.client?.(replica) ?? warmClient(replica, this.#limits);
    const busy = environment.timers.every(busyLookMs, () => this.#lookAt(warming));
    const late = environment.timers.after(replicaMsMax, () => this.#end(warming, 'late'));
    const blockTokens = this.#blockTokens(replica.id);
    const computed: WarmedInit[] = [];
    for (const prefix of prefixes) {
      const { model, adapter, tenantId, tokens, asks } = prefix;
      if (warming.ended === undefined) this.#lookAt(warming);
      const told = warming.ended === undefined ? await this.#compute(client, warming, prefix) : { outcome: 'left' };
      const hash = hashOf(prefix, blockTokens);
      computed.push({ hash, tokens: tokens.length, asks, tenantId, adapter, model, ...told });
    }
    busy.cancel();
    late.cancel();
    await client.close().catch(() => {});
    this.#warmings.delete(warming);
    const ended = warming.ended ?? 'done';
    this.#count(`warmed:${ended}`);
    const tokens = computed.reduce((sum, one) => sum + (one.outcome === 'computed' ? (one.tokens ?? 0) : 0), 0);
    const tookMs = this.#nowMs() - startedMs;
    log(`replica ${replica.id} (${because}) was warmed with ${tokens} tokens in ${Math.round(tookMs)} ms: ${ended}`);
    await this.#record({
      replicaId: replica.id,
      gatewayId: this.#options.gatewayId,
      because,
      ended,
      prefixes: computed,
      left: Object.fromEntries(left),
      ...(heldBlocks === undefined ? {} : { heldBlocks }),
      blockTokens,
      tookMs,
    });
  }

  async #compute(client: WarmClient, warming: Warming, prefix: HotPrefix): Promise<WarmedInit> {
    const { watched, abort } = warming;
    const { replica } = watched;
    const late = this.#options.environment.timers.after(this.#limits.promptMsMax, () => this.#end(warming, 'late'));
    watched.own = 1;
    replica.begin();
    let end: route.AttemptEnd = AttemptEnd.CLIENT_GONE;
    try {
      const { status, cachedTokens } = await client.compute(prefix, abort.signal);
      this.sentTokens += prefix.tokens.length;
      if (status !== 200) {
        // The request is ours: what it is refused for says nothing of the engine.
        this.#end(warming, 'failed');
        return { outcome: `failed:${status}` };
      }
      end = AttemptEnd.ANSWERED;
      this.cachedTokens += cachedTokens ?? 0;
      return { outcome: 'computed', ...(cachedTokens === undefined ? {} : { cachedTokens }) };
    } catch {
      this.#end(warming, 'failed');
      return { outcome: 'unanswered' };
    } finally {
      replica.end(end);
      watched.own = 0;
      late.cancel();
    }
  }

  #lookAt(warming: Warming): void {
    const { watched } = warming;
    if (watched.replica.routabilityAt(this.#nowMs()) !== 'ready') return this.#end(warming, 'not-ready');
    const busy = busyWith(loadOf(watched), this.#limits);
    if (busy !== undefined) this.#end(warming, `busy:${busy}`);
  }

  /** The first reason counts. */
  #end(warming: Warming, why: string): void {
    if (warming.ended !== undefined) return;
    warming.ended = why;
    warming.abort.abort();
  }

  async #record(warming: MessageInitShape<typeof route.ReplicaWarmedSchema>): Promise<void> {
    const { environment, issue, log, state } = this.#options;
    const { replicaId = '', because = '', ended = '', heldBlocks } = warming;
    try {
      await issue(
        replicaId,
        { type: 'RecordWarming', warming },
        {
          commandId: environment.ids.uuid(),
          reason: {
            text: `${because}: ${ended}`,
            policyName: 'kv-warming',
            policyVersion: 1,
            inputs: [
              ...(heldBlocks === undefined ? [] : [{ name: 'heldBlocks', value: heldBlocks }]),
              { name: 'hotPrefixes', value: this.hot.size },
              { name: 'tenants', seq: state().tenancySeq },
              { name: 'replicas', seq: state().routeSeq },
            ],
          },
        },
      );
    } catch (thrown) {
      this.#count('unrecorded');
      log(`warming of ${replicaId} could not be recorded: ${errorText(thrown)}`);
    }
  }

  /** Undefined where it is not known exactly. */
  #heldBlocks(replicaId: string, nowMs: number): number | undefined {
    const { fold } = this.#options.kv;
    if (!fold.exact(replicaId, nowMs)) return undefined;
    let blocks = 0;
    for (const { holder } of fold.replicas.get(replicaId)?.ranks.values() ?? []) blocks += holder.holdings.size;
    return blocks;
  }

  /** Of the replica's own blocks, else of another one's of a model of its own: one that is empty has not said it. */
  #blockTokens(replicaId: string): number {
    const { kv, replicas } = this.#options;
    const own = this.#watched.get(replicaId)?.replica;
    const models = new Set((own?.models() ?? []).map(({ id }) => id));
    const alike = replicas().filter((other) => (other.models() ?? []).some(({ id }) => models.has(id)));
    for (const id of [replicaId, ...alike.map((other) => other.id)]) {
      for (const { holder } of kv.fold.replicas.get(id)?.ranks.values() ?? []) {
        if (holder.blockSize > 0) return holder.blockSize;
      }
    }
    return 0;
  }

  #there(prefix: HotPrefix, replica: LiveReplica, blockTokens: number): PrefixThere {
    const adapterResident = prefix.adapter === '' ? 1 : replica.adapterResident(prefix.adapter);
    const chain = chainOf(prefix, blockTokens);
    const [heldBlocks = 0] = this.#options.kv.fold.index.match(chain, [replica.id]);
    return { prefix, adapterResident, heldBlocks, blocks: chain.length };
  }

  #count(what: string): void {
    this.decisions.set(what, (this.decisions.get(what) ?? 0) + 1);
  }

  #nowMs(): number {
    return this.#options.environment.clock.monotonicMs();
  }
}

/** Without what this gateway itself has it compute ahead. */
function loadOf({ replica, own }: Watched): ReplicaLoad {
  const { load } = replica.observation;
  return {
    clientRequests: replica.inflight + replica.elsewhere.requests - own,
    waiting: load?.waiting === undefined ? undefined : load.waiting - own,
    kvUse: load?.kvUse,
  };
}

function hasEvents({ registration }: LiveReplica): boolean {
  try {
    return kvSourceOf(registration) !== undefined;
  } catch {
    return false;
  }
}

/** As the index names its blocks; empty where it is not known how long they are. */
function chainOf({ adapter, cacheSalt, tokens }: HotPrefix, blockTokens: number): Float64Array {
  if (blockTokens === 0) return new Float64Array(0);
  const seed = { model: '', adapter, ...(cacheSalt === '' ? {} : { cacheSalt }) };
  return hashTokens(seed, tokens, blockTokens);
}

const hashOf = (prefix: HotPrefix, blockTokens: number): string =>
  chainOf(prefix, blockTokens).at(-1)?.toString(16).padStart(14, '0') ?? '';
