import type { UpstreamTrust } from '../edge/upstream-tls.ts';
import type { route } from '#libs/contracts';
import type { Work } from '#libs/latency-model';
import type { CandidateTable } from '#libs/scheduling';

/** Whether new requests may go to a replica, and if not, why. `unknown` has not answered yet and takes requests last. */
export type Routability = 'ready' | 'unknown' | 'draining' | 'ejected' | 'circuit-open' | 'unhealthy' | 'asleep';

/** One replica as the data plane sees it. The same object as long as its registration is. */
export interface FleetReplica {
  readonly id: string;
  /** "http://127.0.0.1:8000" */
  readonly origin: string;
  /** "127.0.0.1:8000", for target-pod-ip. */
  readonly address: string;
  /** How it is spoken to over https; undefined is as any other. */
  readonly trust?: UpstreamTrust | undefined;
  /** The engine's own key; undefined where none is configured. */
  readonly credential: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  /** Detected or registered: latency is learnt by kind. */
  readonly engine: route.EngineKind;
  readonly role: route.ReplicaRole;
  /** Prefill and decode replicas of one role set can hand over to one another. */
  readonly roleset: string;
  /** Set where it is somebody else's service. */
  readonly provider?: Provider | undefined;
  /** Its data-parallel rank behind a server that it shares with others. */
  readonly rank?: number | undefined;
  /** Requests that this gateway has on it now. */
  readonly inflight: number;
  /** What requests of other gateways there still need, as far as they tell. */
  readonly workElsewhere: Work | undefined;
  /** `nowMs` of the monotonic clock, for whoever has read it already. */
  routability(nowMs?: number): Routability;
  /** Writes what is known of it into a row: inflight over all gateways, waiting, running, kvUse, warmth, each with its age. */
  describe(table: CandidateTable, row: number, nowMs?: number): void;
  /** 1 where the adapter is believed to be in a slot, 0 where it is to be loaded first, NaN unknown. */
  adapterResident(adapter: string): number;
  /** A request for the adapter goes there. */
  adapterSent(adapter: string): void;
  begin(): void;
  /** Once for each `begin`. Charges circuit and outlier ejection. */
  end(end: route.AttemptEnd): void;
}

/** A service of somebody else that speaks the OpenAI API. */
export interface Provider {
  /** As its certificate and its name have it: "api.openai.com". */
  readonly host: string;
  /** In front of paths, in the place of "/v1": "/openai/v1". */
  readonly basePath: string;
  /** What a model is called there, by its name here. */
  readonly names: ReadonlyMap<string, string>;
  /** Connected to wherever its name leads; else to public addresses alone. */
  readonly allowsPrivate: boolean;
}

/** Replicas of a model that are asked only where its ordinary ones are full, or gone. */
export interface SpareReplicas {
  readonly overflow: readonly FleetReplica[];
  readonly fallback: readonly FleetReplica[];
}

export interface ServedModel {
  readonly id: string;
  /** Base model of an adapter. */
  readonly parent: string | undefined;
  readonly maxModelLen: number | undefined;
}

/** The replicas in routing, as the log names them and as they answer. */
export interface Fleet {
  /** Models and adapters that at least one replica serves or was registered with, by name. */
  models(): readonly ServedModel[];
  model(id: string): ServedModel | undefined;
  /** Replicas that serve the model, in a stable order, whatever their state; undefined for a model nobody serves. */
  replicasFor(model: string): readonly FleetReplica[] | undefined;
  /** Undefined where the model has none. */
  sparesFor?(model: string): SpareReplicas | undefined;
  /** Some replica calls a model by another name. */
  readonly renames?: boolean;
  /** True while some replica has not said yet which models it serves, so that "unknown model" is not yet certain. */
  readonly settling: boolean;
}
