import { route } from '#libs/contracts';
import type { EngineModel } from '#libs/engines';
import type { Clock } from '#libs/kernel';
import type { Work } from '#libs/latency-model';
import type { CandidateTable } from '#libs/scheduling';
import { columnIndex } from '#libs/scheduling';
import { AdapterSlots } from './adapter-slots.ts';
import type { CircuitState } from './circuit.ts';
import type { UpstreamTrust } from '../edge/upstream-tls.ts';
import { Circuit } from './circuit.ts';
import type { FleetReplica, Provider, Routability } from './fleet.ts';
import { fleetLimits } from './limits.ts';
import type { Observation } from './observation.ts';
import { nothingObserved } from './observation.ts';
import { FailureWindow } from './outliers.ts';
import { verdictOf } from './verdict.ts';

/** What other gateways have on a replica, summed, and how old the oldest of their words is. */
export interface ElsewhereInflight {
  readonly requests: number;
  readonly atMs: number | undefined;
  /** What those requests still need; undefined where there are none, or where a gateway tells only their count. */
  readonly work: Work | undefined;
}

const nowhereElse: ElsewhereInflight = { requests: 0, atMs: undefined, work: undefined };

/** One registration: what the log says of it, what its poller saw, and what this gateway's own requests came to. */
export class LiveReplica implements FleetReplica {
  readonly id: string;
  readonly origin: string;
  readonly address: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly role: route.ReplicaRole;
  readonly roleset: string;
  readonly provider: Provider | undefined;
  /** "replica", "overflow", "fallback". */
  readonly use: string;
  readonly rank: number | undefined;
  readonly circuit = new Circuit();
  readonly window = new FailureWindow();
  observation: Observation;
  credential: string | undefined;
  trust: UpstreamTrust | undefined;
  inflight = 0;
  draining = false;
  /** This gateway holds it out: the fold says so. */
  ejected = false;
  elsewhere: ElsewhereInflight = nowhereElse;
  /** Requests since the start, by what they said of the replica. */
  readonly ended = { success: 0, failure: 0, neutral: 0 };
  readonly registeredAtMs: number;
  #routableSinceMs: number | undefined;
  readonly #adapters = new AdapterSlots();

  constructor(
    readonly registration: route.ReplicaRegistered,
    private readonly clock: Clock,
    private readonly changed: () => void,
    /** An attempt could not even connect. */
    private readonly unreachable: () => void = () => {},
  ) {
    this.id = registration.replicaId;
    this.origin = registration.url;
    this.address = addressOf(registration.url);
    this.labels = registration.labels;
    this.provider = providerOf(registration);
    this.use = registration.provider?.use ?? 'replica';
    this.rank = registration.dataParallelSize > 0 ? registration.dataParallelRank : undefined;
    this.role = registration.role;
    this.roleset = registration.roleset;
    this.observation = nothingObserved(registration.engine);
    this.registeredAtMs = clock.monotonicMs();
  }

  get engine(): route.EngineKind {
    return this.observation.engine;
  }

  get workElsewhere(): Work | undefined {
    return this.elsewhere.work;
  }

  routability(nowMs = this.clock.monotonicMs()): Routability {
    return this.routabilityAt(nowMs);
  }

  routabilityAt(nowMs: number): Routability {
    if (this.draining) return 'draining';
    if (this.ejected) return 'ejected';
    const { healthy, asleep } = this.observation;
    // Without its key it would answer 401 to clients that have done nothing wrong.
    if (healthy === false || (this.credential === undefined && this.registration.credentialRef !== ''))
      return 'unhealthy';
    if (asleep) return 'asleep';
    if (!this.circuit.admits(nowMs)) return 'circuit-open';
    // Nobody asks somebody else's service how it is: its answers tell.
    if (this.provider !== undefined) return 'ready';
    return healthy === undefined || this.healthAgeMs(nowMs) > fleetLimits.healthStaleMs ? 'unknown' : 'ready';
  }

  describe(table: CandidateTable, row: number, nowMs = this.clock.monotonicMs()): void {
    const { elsewhere } = this;
    const elsewhereAgeMs = elsewhere.atMs === undefined ? 0 : nowMs - elsewhere.atMs;
    table.put(row, columnIndex.inflight, this.inflight + elsewhere.requests, elsewhereAgeMs);
    table.put(row, columnIndex.warmth, this.warmthAt(nowMs), 0);
    const { load, loadAtMs } = this.observation;
    if (load === undefined || loadAtMs === undefined) return;
    const ageMs = nowMs - loadAtMs;
    if (load.waiting !== undefined) table.put(row, columnIndex.waiting, load.waiting, ageMs);
    if (load.running !== undefined) table.put(row, columnIndex.running, load.running, ageMs);
    if (load.kvUse !== undefined) table.put(row, columnIndex.kvUse, load.kvUse, ageMs);
  }

  adapterResident(adapter: string): number {
    return this.#adapters.resident(adapter, this.observation.adapters);
  }

  adapterSent(adapter: string): void {
    this.#adapters.sent(adapter, this.observation.adapters);
  }

  begin(): void {
    this.inflight++;
    this.circuit.begin(this.clock.monotonicMs());
    this.changed();
  }

  end(end: route.AttemptEnd): void {
    const nowMs = this.clock.monotonicMs();
    const verdict = verdictOf(end);
    this.inflight--;
    this.ended[verdict]++;
    this.circuit.end(verdict, nowMs);
    if (verdict !== 'neutral') this.window.count(verdict === 'failure', nowMs);
    if (end === route.AttemptEnd.CONNECT_FAILED) this.unreachable();
    this.changed();
  }

  /** Takes over what the poller saw. */
  observe(observation: Observation): void {
    const nowMs = this.clock.monotonicMs();
    const cameBack = this.observation.healthy === false && observation.healthy === true;
    this.observation = observation;
    if (cameBack) {
      this.circuit.probeNow(nowMs);
      this.#adapters.clear();
    }
    this.noteRouting(nowMs);
  }

  /** Warmth starts anew each time the replica comes into routing; asked after everything that may have changed it. */
  noteRouting(nowMs: number): void {
    const state = this.routabilityAt(nowMs);
    if (state === 'ready') this.#routableSinceMs ??= nowMs;
    else if (state !== 'unknown') this.#routableSinceMs = undefined;
  }

  /** Linear from 0 to 1 over the slow start. */
  warmthAt(nowMs: number): number {
    if (this.#routableSinceMs === undefined) return 0;
    return Math.min(1, (nowMs - this.#routableSinceMs) / fleetLimits.slowStartMs);
  }

  circuitAt(nowMs: number): CircuitState {
    return this.circuit.stateAt(nowMs);
  }

  /** Infinity before the first answer. */
  healthAgeMs(nowMs: number): number {
    const { healthAtMs } = this.observation;
    return healthAtMs === undefined ? Infinity : nowMs - healthAtMs;
  }

  /** As registered, with adapters of those as answered; where none were registered, as answered. Undefined before that. */
  models(): readonly EngineModel[] | undefined {
    const { models: registered } = this.registration;
    const answered = this.observation.models;
    if (registered.length === 0) return answered;
    const named = new Set(registered);
    const known = new Map((answered ?? []).map((model) => [model.id, model]));
    return [
      ...registered.map((id) => known.get(id) ?? { id, parent: undefined, maxModelLen: undefined }),
      ...(answered ?? []).filter(({ id, parent }) => parent !== undefined && named.has(parent) && !named.has(id)),
    ];
  }
}

function providerOf({ url, provider }: route.ReplicaRegistered): Provider | undefined {
  if (provider === undefined) return undefined;
  const { basePath, names, allowPrivate } = provider;
  return { host: new URL(url).host, basePath, names: new Map(Object.entries(names)), allowsPrivate: allowPrivate };
}

function addressOf(url: string): string {
  const { hostname, port, protocol } = new URL(url);
  return `${hostname}:${port === '' ? (protocol === 'https:' ? 443 : 80) : port}`;
}
