import { create, toBinary } from '@bufbuild/protobuf';
import { route, subjects } from '#libs/contracts';
import type { RouteState } from '#libs/domain/route';
import type { Telemetry } from '#libs/event-log';
import type { Work } from '#libs/latency-model';
import type { Environment } from '#libs/kernel';
import type { UpstreamTls, UpstreamTrust } from '../edge/upstream-tls.ts';
import type { IssueReplicaCommand } from './ejector.ts';
import { Ejector } from './ejector.ts';
import type { Fleet, ServedModel, SpareReplicas } from './fleet.ts';
import { InflightExchange } from './inflight-exchange.ts';
import { fleetLimits } from './limits.ts';
import { ModelIndex } from './model-index.ts';
import type { Observation } from './observation.ts';
import { Poller } from './poller.ts';
import type { Probe } from './probe.ts';
import { createProbe } from './probe.ts';
import { LiveReplica } from './replica.ts';

export interface LiveFleetOptions {
  readonly gatewayId: string;
  readonly bootId: string;
  readonly environment: Environment;
  readonly telemetry: Telemetry;
  readonly issue: IssueReplicaCommand;
  readonly routeSeq: () => number;
  readonly log: (line: string) => void;
  /** What this gateway's requests on a replica still need, for the other gateways. */
  readonly workOf?: ((replicaId: string) => Work | undefined) | undefined;
  /** Instead of HTTP, for tests. */
  readonly probe?: Probe;
  /** How replicas behind https are spoken to; default: by the well-known authorities. */
  readonly upstreamTls?: UpstreamTls | undefined;
}

interface Member {
  readonly replica: LiveReplica;
  readonly poller: Poller;
}

/** The fleet as the fold of the log names it and as its replicas answer. Lookups are synchronous and touch memory alone. */
export class LiveFleet implements Fleet {
  readonly exchange: InflightExchange;
  readonly ejector: Ejector;
  readonly #options: LiveFleetOptions;
  readonly #probe: Probe;
  readonly #closeProbe: () => Promise<void>;
  /** By origin, for probes. */
  readonly #trusts = new Map<string, UpstreamTrust | undefined>();
  readonly #members = new Map<string, Member>();
  /** In order of id. */
  #replicas: readonly LiveReplica[] = [];
  #index: ModelIndex | undefined;
  #stopped = false;

  constructor(options: LiveFleetOptions) {
    this.#options = options;
    const { gatewayId, bootId, environment, telemetry, issue, routeSeq, log, workOf = () => undefined } = options;
    if (options.probe === undefined) {
      const { probe, close } = createProbe(environment.timers, (origin) => this.#trusts.get(origin));
      this.#probe = probe;
      this.#closeProbe = close;
    } else {
      this.#probe = options.probe;
      this.#closeProbe = async () => {};
    }
    this.exchange = new InflightExchange({
      gatewayId,
      bootId,
      telemetry,
      environment,
      own: () => new Map(this.#replicas.map(({ id, inflight }) => [id, { requests: inflight, work: workOf(id) }])),
      elsewhere: (ids) => this.#sumElsewhere(ids),
      warn: log,
    });
    this.ejector = new Ejector({ gatewayId, environment, replicas: () => this.#replicas, issue, seq: routeSeq, log });
  }

  /** In order of id. */
  get replicas(): readonly LiveReplica[] {
    return this.#replicas;
  }

  get settling(): boolean {
    const nowMs = this.#options.environment.clock.monotonicMs();
    return this.#replicas.some(
      (replica) => replica.models() === undefined && nowMs - replica.registeredAtMs < fleetLimits.settlingMsMax,
    );
  }

  models(): readonly ServedModel[] {
    return this.#indexed().models;
  }

  model(id: string): ServedModel | undefined {
    return this.#indexed().model(id);
  }

  replicasFor(model: string): readonly LiveReplica[] | undefined {
    return this.#indexed().replicasFor(model);
  }

  sparesFor(model: string): SpareReplicas | undefined {
    return this.#indexed().sparesFor(model);
  }

  get renames(): boolean {
    return this.#indexed().renames;
  }

  replica(id: string): LiveReplica | undefined {
    return this.#members.get(id)?.replica;
  }

  /** Takes over what the fold says: who is registered, drained, ejected. Cheap where nothing changed. */
  follow({ replicas }: RouteState): void {
    if (this.#stopped) return;
    let moved = false;
    for (const [id, { replica, poller }] of this.#members) {
      if (replicas.get(id)?.registration === replica.registration) continue;
      poller.stop();
      this.#members.delete(id);
      moved = true;
    }
    for (const [id, { registration }] of replicas) {
      if (this.#members.has(id)) continue;
      this.#members.set(id, this.#join(registration));
      moved = true;
    }
    for (const [id, { draining, ejectedBy }] of replicas) {
      const { replica } = this.#members.get(id) as Member;
      replica.draining = draining;
      replica.ejected = ejectedBy.includes(this.#options.gatewayId);
      replica.noteRouting(this.#options.environment.clock.monotonicMs());
    }
    if (!moved) return;
    this.#followTrusts();
    this.#replicas = [...this.#members.values()].map(({ replica }) => replica).sort((a, b) => (a.id < b.id ? -1 : 1));
    this.#index = undefined;
  }

  /** Starts what runs by itself beside the pollers. @throws what the broker says */
  async start(): Promise<void> {
    await this.exchange.start();
    this.ejector.start();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.ejector.stop();
    for (const { poller } of this.#members.values()) poller.stop();
    await this.exchange.stop();
    this.#options.upstreamTls?.stop();
    await this.#closeProbe();
  }

  #indexed(): ModelIndex {
    return (this.#index ??= new ModelIndex(this.#replicas));
  }

  #join(registration: route.ReplicaRegistered): Member {
    const { environment, telemetry } = this.#options;
    const replica: LiveReplica = new LiveReplica(
      registration,
      environment.clock,
      () => this.exchange.touch(),
      () => poller.hurry(),
    );
    const subject = subjects.telemetry(replica.id, 'polled');
    const poller: Poller = new Poller({
      registration,
      environment,
      probe: this.#probe,
      periodMs: () => this.#periodMs(),
      observed: (observation, modelsChanged) => {
        replica.credential = poller.credential;
        replica.observe(observation);
        if (modelsChanged) this.#index = undefined;
        telemetry.publish(subject, telemetryOf(replica.id, observation, environment.clock.nowMs()));
      },
    });
    replica.trust = this.#options.upstreamTls?.of(registration.tls);
    replica.elsewhere = this.exchange.sumFor(replica.id);
    // A small fleet is known at once; a large one within one period.
    poller.start(Math.min(this.#periodMs(), this.#members.size * 10));
    return { replica, poller };
  }

  /** Forgets what replicas that are gone were spoken to with. */
  #followTrusts(): void {
    this.#trusts.clear();
    for (const { replica } of this.#members.values()) {
      const { url, metricsUrl } = replica.registration;
      for (const origin of [url, metricsUrl]) {
        if (origin.startsWith('https:')) this.#trusts.set(originOf(origin), replica.trust);
      }
    }
    this.#options.upstreamTls?.keep(new Set([...this.#members.values()].map(({ replica }) => replica.trust)));
  }

  #periodMs(): number {
    return Math.max(fleetLimits.pollPeriodMs, (this.#members.size * 1_000) / fleetLimits.pollsPerSecondMax);
  }

  #sumElsewhere(ids: Iterable<string>): void {
    for (const id of ids) {
      const replica = this.#members.get(id)?.replica;
      if (replica !== undefined) replica.elsewhere = this.exchange.sumFor(id);
    }
  }
}

/** As a connection names it: with its port. */
function originOf(url: string): string {
  const { protocol, hostname, port } = new URL(url);
  return `${protocol}//${hostname}:${port || 443}`;
}

function telemetryOf(replicaId: string, { load }: Observation, atMs: number): Uint8Array {
  const values: Record<string, number> = {};
  if (load?.waiting !== undefined) values['waiting'] = load.waiting;
  if (load?.running !== undefined) values['running'] = load.running;
  if (load?.kvUse !== undefined) values['kvUse'] = load.kvUse;
  return toBinary(route.ReplicaTelemetrySchema, create(route.ReplicaTelemetrySchema, { replicaId, atMs, values }));
}
