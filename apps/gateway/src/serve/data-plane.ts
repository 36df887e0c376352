import type { Server } from 'node:http';
import type { Server as TcpServer } from 'node:net';
import type { FlowLimits } from '#libs/flow-control';
import type { Environment, Timer } from '#libs/kernel';
import type { Work } from '#libs/latency-model';
import { errorCode, errorText } from '#libs/kernel';
import type { Logger, Registry } from '#libs/observability';
import type { RecordInput } from '#libs/recording';
import type { UpstreamTrust } from '../edge/upstream-tls.ts';
import type { GatewayState } from '../control/state.ts';
import type { Edge } from '../edge/index.ts';
import { plainEdge } from '../edge/index.ts';
import type { CacheSalts } from '../edge/cache-salt.ts';
import { KeyGuard } from '../edge/key-guard.ts';
import type { Fleet, FleetReplica } from '../fleet/fleet.ts';
import type { PreciseIndex } from '../kv/precise-index.ts';
import type { Served } from './active-list.ts';
import { ActiveList } from './active-list.ts';
import { BodyScanner } from './body/body-scanner.ts';
import { answerUnparsed, attachServer } from './client-errors.ts';
import type { Target } from './endpoints.ts';
import { modelsEndpoint, otherEndpoint, realtimeEndpoint, targetOf } from './endpoints.ts';
import * as errors from './errors.ts';
import type { ClientFault } from './http/faults.ts';
import { faults } from './http/faults.ts';
import type { Upgrades } from './http/front.ts';
import { Front } from './http/front.ts';
import type { HttpRequest, HttpResponse } from './http/types.ts';
import { listenerOf } from './listening.ts';
import { Exchange } from './exchange.ts';
import { Hedging } from './hedging/hedging.ts';
import { MessagesOffers } from '../messages/index.ts';
import { Idempotency } from './idempotency.ts';
import type { ServeLimits } from './limits.ts';
import { serveLimits } from './limits.ts';
import { ServeMetrics } from './metrics.ts';
import { answerModels } from './models.ts';
import { PdMetrics } from './pd/pd-metrics.ts';
import { Picks } from './picks.ts';
import type { Plane } from './plane.ts';
import type { Quotas } from '../quota/index.ts';
import { FlowGate } from '../flow/index.ts';
import { QuotaGate } from '../quota/index.ts';
import type { RealtimeLimits } from '../realtime/index.ts';
import { RealtimeSessions, refusals as realtimeRefusals } from '../realtime/index.ts';
import type { HeldRequests } from './starting.ts';
import { Starting } from './starting.ts';
import type { TokensOf } from '../tokens/index.ts';
import { noTokenizers } from '../tokens/index.ts';
import { RateLimit } from './rate-limit.ts';
import { ResponseHolders } from './response-holders.ts';
import { Selectors } from './selector.ts';
import { ServeTracing } from './tracing.ts';
import { ReplicaPool } from './upstream/pool.ts';
import { publicLookup } from './upstream/public-lookup.ts';

export interface DataPlaneOptions {
  readonly fleet: Fleet;
  readonly state: () => GatewayState;
  /** Undefined: recording is off. */
  readonly record: ((record: RecordInput) => void) | undefined;
  readonly environment: Environment;
  readonly logger: Logger;
  readonly metrics: Registry;
  /** No keys: the client's `authorization` goes to the engine unchanged. */
  readonly open: boolean;
  readonly compat: 'aibrix' | undefined;
  /** Ask engines for the usage of streams though the client did not, and keep it from the client; default true. */
  readonly streamUsage?: boolean;
  /** Undefined: limits are not held. */
  readonly quotas?: Quotas | undefined;
  /** See `Plane.kv`. */
  readonly kv?: PreciseIndex | undefined;
  /** What requests have to wait for; asked until it answers nothing. Default: nothing. */
  readonly waitsFor?: (() => string | undefined) | undefined;
  /** See `Plane.wanted`. */
  readonly wanted?: Plane['wanted'];
  /** Whom replicas behind https may be certified by; default: the well-known authorities. */
  readonly trust?: UpstreamTrust | undefined;
  /** Default: realtime sessions. */
  readonly upgrades?: Upgrades | undefined;
  /** Default: no proxy is believed, and no browser is answered. */
  readonly edge?: Edge | undefined;
  readonly salts?: CacheSalts | undefined;
  /** Default: no model's tokenizer is known. */
  readonly tokens?: TokensOf | undefined;
  readonly limits?: Partial<ServeLimits>;
  readonly flowLimits?: Partial<FlowLimits>;
  readonly realtimeLimits?: Partial<RealtimeLimits>;
}

/** How long a gateway whose port others serve waits. */
export interface LeaveLimits {
  /** For requests on connections that clients keep. */
  readonly idleMsMax: number;
  /** For requests under way: streams are long. */
  readonly requestsMsMax: number;
}

export interface DataPlane {
  /** Where clients come in. */
  readonly front: Front;
  /** For requests that came another way. False where the path is none of ours (health, ready, metrics, admin are the framework's). */
  handle(request: HttpRequest, response: HttpResponse): boolean;
  /** The body of a request that came another way is overdue, and nothing was answered. */
  late(response: HttpResponse): void;
  /**
   * Timeouts, header bounds and hooks of a node:http server; create it with `serverOptions`. The first one is given the connections on
   * which a request for the framework comes.
   */
  attach(server: Server): void;
  /** Others serve the port: takes no new connections, and serves those that clients have to the end of their requests. */
  leave(listener: TcpServer, limits: LeaveLimits): Promise<void>;
  /** Refuses new requests with 503, lets those under way end, and cuts what is left after `limitMs`. */
  drain(limitMs: number): Promise<void>;
  readonly inflight: number;
  readonly holders: ResponseHolders;
  /** What the requests that it has on a replica still need; undefined before the first. */
  workOn(replicaId: string): Work | undefined;
}

/** How often replicas that are gone are looked for. */
const goneSweeps = 20;

class HttpDataPlane implements DataPlane, Plane, HeldRequests {
  readonly fleet: Fleet;
  readonly state: () => GatewayState;
  readonly record: ((record: RecordInput) => void) | undefined;
  readonly environment: Environment;
  readonly logger: Logger;
  readonly open: boolean;
  readonly compat: boolean;
  readonly streamUsage: boolean;
  readonly limits: ServeLimits;
  readonly scanner: BodyScanner;
  readonly picks: Picks;
  readonly tokens: TokensOf;
  readonly kv: PreciseIndex | undefined;
  readonly selectors: Selectors;
  readonly rates = new RateLimit();
  readonly edge: Edge;
  readonly keyGuard = new KeyGuard();
  readonly salts: CacheSalts | undefined;
  readonly quotas: QuotaGate | undefined;
  readonly wanted: Plane['wanted'];
  readonly flow: FlowGate;
  readonly hedging: Hedging;
  readonly holders: ResponseHolders;
  readonly messages = new MessagesOffers();
  readonly idempotency: Idempotency;
  readonly metrics: ServeMetrics;
  readonly pd: PdMetrics;
  readonly tracing = new ServeTracing();
  readonly front: Front;
  readonly active = new ActiveList<Served>();
  heldBytes = 0;
  draining = false;
  readonly #pools = new Map<FleetReplica, ReplicaPool>();
  readonly #trust: UpstreamTrust | undefined;
  readonly #nowMs: () => number;
  readonly #servers = new Set<Server>();
  #starting: Starting | undefined;
  #sweeper: Timer | undefined;
  #sweeps = 0;

  constructor(options: DataPlaneOptions) {
    const { environment } = options;
    this.fleet = options.fleet;
    this.state = options.state;
    this.record = options.record;
    this.environment = environment;
    this.logger = options.logger;
    this.open = options.open;
    this.edge = options.edge ?? plainEdge;
    this.salts = options.salts;
    this.tokens = options.tokens ?? noTokenizers;
    this.compat = options.compat === 'aibrix';
    this.streamUsage = options.streamUsage ?? true;
    this.quotas = options.quotas === undefined ? undefined : new QuotaGate(options.quotas, this.compat);
    this.limits = { ...serveLimits, ...options.limits };
    this.holders = new ResponseHolders(this.limits.responseHoldersMax);
    this.idempotency = new Idempotency(this.limits);
    this.scanner = new BodyScanner(this.limits);
    this.picks = new Picks({ capture: options.record !== undefined, seed: environment.rng.uint32() });
    this.kv = options.kv;
    this.selectors = new Selectors(this.limits.selectorLengthMax);
    this.#trust = options.trust;
    this.#nowMs = () => environment.clock.monotonicMs();
    this.pd = new PdMetrics(options.metrics);
    this.metrics = new ServeMetrics(options.metrics, this.limits.modelLabelsMax, {
      inflight: () => this.active.size,
      prefixBlocks: () => this.picks.prefixBlocks,
      connections: () => [...this.#pools.values()].reduce((sum, pool) => sum + pool.open, 0),
    });
    this.wanted = options.wanted;
    this.flow = new FlowGate({
      environment,
      metrics: options.metrics,
      limits: options.flowLimits,
      outputTokens: ({ where }) => this.picks.signals.outputTokens(where.asked),
      prefillTokensOf: (replicaId) => this.picks.prefillTokensOf(replicaId),
      wanted: options.wanted,
    });
    this.front = new Front({
      limits: this.limits,
      nowMs: this.#nowMs,
      dateMs: () => environment.clock.nowMs(),
      handle: (request, response) => this.handle(request, response),
      refuse: (response, fault) => refuseFault(response, fault),
      unparsed: (fault) => answerUnparsed(this, fault),
      fault: (thrown) => this.logger.error({ err: thrown, code: errorCode(thrown) }, errorText(thrown)),
    });
    this.front.upgrading = options.upgrades ?? new RealtimeSessions(this, options.realtimeLimits);
    this.hedging = new Hedging(environment, options.metrics);
    const { waitsFor } = options;
    this.#starting = waitsFor && new Starting(waitsFor, this.limits, this);
    this.#sweeper = environment.timers.every(this.limits.sweepPeriodMs, () => this.#sweep());
  }

  get inflight(): number {
    return this.active.size;
  }

  handle(request: HttpRequest, response: HttpResponse): boolean {
    const target = targetOf(request.url ?? '');
    if (target === undefined) return false;
    if (this.edge.cors?.preflight(request, response) === true) return true;
    if (this.#isStarting()) this.#starting?.take(request, response, this.#nowMs());
    else this.#begin(request, response, target);
    return true;
  }

  serve(request: HttpRequest, response: HttpResponse): void {
    this.#begin(request, response, targetOf(request.url ?? '') as Target);
  }

  refuse(request: HttpRequest, response: HttpResponse, why: string): void {
    new Exchange(this, request, response, targetOf(request.url ?? '') as Target).refuse(errors.starting(why));
  }

  #isStarting(): boolean {
    if (this.#starting === undefined) return false;
    if (this.#starting.isOver()) this.#starting = undefined;
    return this.#starting !== undefined;
  }

  #begin(request: HttpRequest, response: HttpResponse, target: Target): void {
    const exchange = new Exchange(this, request, response, target);
    try {
      this.#serve(exchange, target, request.method ?? '');
    } catch (thrown) {
      exchange.fault(thrown);
    }
  }

  late(response: HttpResponse): void {
    refuseFault(response, faults.timeout);
  }

  #serve(exchange: Exchange, target: Target, method: string): void {
    const { endpoint, path } = target;
    if (endpoint === otherEndpoint) {
      exchange.refuse(path[0] === '/' ? errors.unknownPath(path, this.compat) : errors.invalidTarget);
    } else if (!endpoint.methods.includes(method)) {
      exchange.refuse(errors.wrongMethod(method, path, endpoint.methods.join(', ')));
    } else if (endpoint === realtimeEndpoint) {
      exchange.refuse(realtimeRefusals.notWebSocket);
    } else if (endpoint === modelsEndpoint) {
      if (exchange.admit()) answerModels(exchange, this);
    } else exchange.serve();
  }

  pool(replica: FleetReplica): ReplicaPool {
    let pool = this.#pools.get(replica);
    if (pool === undefined) {
      const lookup = replica.provider?.allowsPrivate === false ? publicLookup : undefined;
      pool = new ReplicaPool(replica.origin, this.limits, this.#nowMs, replica.trust ?? this.#trust, lookup);
      this.#pools.set(replica, pool);
    }
    return pool;
  }

  workOn(replicaId: string): Work | undefined {
    return this.picks.signals.replicas.get(replicaId);
  }

  attach(server: Server): void {
    this.#servers.add(server);
    this.front.framework ??= server;
    attachServer(server, this);
  }

  async leave(listener: TcpServer, limits: LeaveLimits): Promise<void> {
    const { clock, timers } = this.environment;
    listener.close();
    // Each answer says that its connection ends; one that is idle may have a request on its way.
    this.front.draining = true;
    const startMs = clock.monotonicMs();
    const within = (limitMs: number): boolean => clock.monotonicMs() - startMs < limitMs;
    while (this.front.connections > 0 && within(limits.idleMsMax)) await timers.sleep(drainLookMs);
    this.front.drain();
    while (this.active.size > 0 && within(limits.requestsMsMax)) await timers.sleep(drainLookMs);
  }

  async drain(limitMs: number): Promise<void> {
    this.draining = true;
    this.#starting?.stop();
    const { clock, timers } = this.environment;
    this.front.drain();
    for (const server of this.#servers) server.closeIdleConnections();
    const endMs = clock.monotonicMs() + limitMs;
    while (this.active.size > 0 && clock.monotonicMs() < endMs) await timers.sleep(drainLookMs);
    this.active.forEach((exchange) => exchange.abort());
    this.#sweeper?.cancel();
    this.flow.stop();
    this.hedging.stop();
    this.#sweeper = undefined;
    for (const pool of this.#pools.values()) pool.close();
    this.#pools.clear();
  }

  #sweep(): void {
    const nowMs = this.#nowMs();
    this.front.sweep();
    if (this.#isStarting()) this.#starting?.sweep(nowMs);
    this.active.forEach((exchange) => exchange.sweep(nowMs));
    for (const pool of this.#pools.values()) pool.sweep();
    if (++this.#sweeps % goneSweeps !== 0) return;
    this.#forgetGone();
    this.flow.forgetIdle();
    this.keyGuard.sweep(nowMs);
    this.idempotency.sweep(nowMs);
  }

  /** A replica is known by its object: one registered anew is another. */
  #forgetGone(): void {
    const there = new Set<FleetReplica>();
    for (const { id } of this.fleet.models()) {
      for (const replica of this.fleet.replicasFor(id) ?? []) there.add(replica);
      const { overflow = [], fallback = [] } = this.fleet.sparesFor?.(id) ?? {};
      for (const replica of [...overflow, ...fallback]) there.add(replica);
    }
    const ids = new Set([...there].map(({ id }) => id));
    this.kv?.forgetGone(ids);
    for (const [replica, pool] of this.#pools) {
      if (there.has(replica)) continue;
      pool.close();
      this.#pools.delete(replica);
      if (ids.has(replica.id)) continue;
      this.picks.forget(replica.id);
      this.kv?.forget(replica.id);
    }
  }
}

function refuseFault(response: HttpResponse, fault: ClientFault): void {
  const exchange = listenerOf(response);
  if (exchange instanceof Exchange) exchange.refuseMalformed(fault);
}

const drainLookMs = 20;

export function createDataPlane(options: DataPlaneOptions): DataPlane {
  return new HttpDataPlane(options);
}
