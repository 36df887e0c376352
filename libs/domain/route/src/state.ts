import { fromJson, toJson } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import type { DecodedCommit } from '#libs/event-log';
import type { ConfigurationEvent, ConfigurationState } from './configuration.decider.ts';
import { configuration } from './configuration.decider.ts';
import type { ModelRouteEvent } from './model-route.decider.ts';
import { modelRoute } from './model-route.decider.ts';
import type { PolicyEvent } from './policy.decider.ts';
import { policy } from './policy.decider.ts';
import type { ReplicaEvent, ReplicaState } from './replica.decider.ts';
import { replica } from './replica.decider.ts';

/** A replica in routing, with where the log last spoke of it. */
export interface RoutableReplica extends ReplicaState {
  readonly registration: route.ReplicaRegistered;
  readonly version: number;
  readonly seq: number;
}

/** A policy in force. The same object as long as its version is: caches may hang on it. */
export interface PolicyInForce {
  readonly policy: route.RoutingPolicy;
  readonly source: string;
  readonly version: number;
  /** Sequence and id of the commit that made this version; 0 and '' for the built-in default. */
  readonly seq: number;
  readonly commitId: string;
}

/** A model route in force. The same object as long as its version is. */
export interface ModelRouteInForce {
  readonly route: route.ModelRoute;
  readonly source: string;
  readonly version: number;
  readonly seq: number;
}

/** Replicas, policies, model routes and the applied document, as the fold of `lintel.ev.route.>`. Owned and changed by its fold alone. */
export interface RouteState {
  readonly replicas: Map<string, RoutableReplica>;
  readonly policies: Map<string, PolicyInForce>;
  /** Model name (or "*") → policy; where two claim one model, that of the lesser id. */
  readonly policyByModel: Map<string, PolicyInForce>;
  readonly modelRoutes: Map<string, ModelRouteInForce>;
  /** Name that clients use → its routes: those for some tenants first, then by id. Empty where none is configured. */
  readonly routesByName: Map<string, readonly ModelRouteInForce[]>;
  readonly configurations: Map<string, ConfigurationState>;
}

export const emptyRouteState = (): RouteState => ({
  replicas: new Map(),
  policies: new Map(),
  policyByModel: new Map(),
  modelRoutes: new Map(),
  routesByName: new Map(),
  configurations: new Map(),
});

/** Folds one accepted commit into `state` and returns it. Commits of other contexts change nothing. */
export function evolveRoute(state: RouteState, commit: DecodedCommit): RouteState {
  const { subject } = commit;
  if (subject.context !== 'route') return state;
  if (subject.aggregate === 'replica') evolveReplica(state, commit);
  if (subject.aggregate === 'policy') evolvePolicy(state, commit);
  if (subject.aggregate === 'modelroute') evolveModelRoute(state, commit);
  if (subject.aggregate === 'configuration') {
    let next = state.configurations.get(subject.id) ?? configuration.initial;
    for (const event of commit.events) next = configuration.evolve(next, event as unknown as ConfigurationEvent);
    state.configurations.set(subject.id, { ...next });
  }
  return state;
}

function evolveReplica(state: RouteState, { subject, stored, events }: DecodedCommit): void {
  let next: ReplicaState = state.replicas.get(subject.id) ?? replica.initial;
  for (const event of events) next = replica.evolve(next, event as unknown as ReplicaEvent);
  const { registration, draining, ejectedBy } = next;
  if (registration === undefined) state.replicas.delete(subject.id);
  else {
    const { version, seq } = stored;
    state.replicas.set(subject.id, { registration, draining, ejectedBy, version, seq });
  }
}

function evolvePolicy(state: RouteState, { subject, stored, events }: DecodedCommit): void {
  const before = state.policies.get(subject.id);
  let next = before ?? policy.initial;
  for (const event of events) next = policy.evolve(next, event as unknown as PolicyEvent);
  if (next.policy === undefined) state.policies.delete(subject.id);
  else {
    const { version, seq, commitId } = stored;
    state.policies.set(subject.id, { policy: next.policy, source: next.source, version, seq, commitId });
  }
  indexPolicies(state);
}

function evolveModelRoute(state: RouteState, { subject, stored, events }: DecodedCommit): void {
  let next = state.modelRoutes.get(subject.id) ?? modelRoute.initial;
  for (const event of events) next = modelRoute.evolve(next, event as unknown as ModelRouteEvent);
  if (next.route === undefined) state.modelRoutes.delete(subject.id);
  else {
    const { version, seq } = stored;
    state.modelRoutes.set(subject.id, { route: next.route, source: next.source, version, seq });
  }
  indexModelRoutes(state);
}

function indexModelRoutes({ modelRoutes, routesByName }: RouteState): void {
  routesByName.clear();
  const own = ({ route: { tenants } }: ModelRouteInForce): number => (tenants.length > 0 ? 0 : 1);
  const ordered = [...modelRoutes].sort(([a, x], [b, y]) => own(x) - own(y) || (a < b ? -1 : 1));
  for (const [, inForce] of ordered) {
    for (const name of inForce.route.models) routesByName.set(name, [...(routesByName.get(name) ?? []), inForce]);
  }
}

/** The route that governs a name for this tenant; undefined where the name leads to the model of that name. */
export function modelRouteFor(
  { routesByName }: RouteState,
  name: string,
  tenantId: string,
): ModelRouteInForce | undefined {
  if (routesByName.size === 0) return undefined;
  const found = routesByName.get(name);
  return found?.find(({ route: { tenants } }) => tenants.length === 0 || tenants.includes(tenantId));
}

function indexPolicies(state: RouteState): void {
  state.policyByModel.clear();
  for (const id of [...state.policies.keys()].sort()) {
    const inForce = state.policies.get(id) as PolicyInForce;
    for (const model of inForce.policy.models) {
      if (!state.policyByModel.has(model)) state.policyByModel.set(model, inForce);
    }
  }
}

/** Raised when evolveRoute folds the same commits into something else: older snapshots are then thrown away. */
export const routeFoldVersion = 2;

/** Plain JSON of the state, for snapshots. */
export const routeStateToJson = (state: RouteState): unknown => ({
  replicas: [...state.replicas].map(([id, { registration, ...rest }]) => [
    id,
    { ...rest, registration: toJson(route.ReplicaRegisteredSchema, registration) },
  ]),
  policies: [...state.policies].map(([id, { policy, ...rest }]) => [
    id,
    { ...rest, policy: toJson(route.RoutingPolicySchema, policy) },
  ]),
  modelRoutes: [...state.modelRoutes].map(([id, { route: given, ...rest }]) => [
    id,
    { ...rest, route: toJson(route.ModelRouteSchema, given) },
  ]),
  configurations: [...state.configurations],
});

/** @throws where the JSON is not what routeStateToJson made: the snapshot is then thrown away */
export function routeStateFromJson(json: unknown): RouteState {
  const { replicas, policies, modelRoutes, configurations } = json as {
    replicas: [string, RoutableReplica & { registration: never }][];
    policies: [string, PolicyInForce & { policy: never }][];
    modelRoutes: [string, ModelRouteInForce & { route: never }][];
    configurations: [string, ConfigurationState][];
  };
  const state: RouteState = { ...emptyRouteState(), configurations: new Map(configurations) };
  for (const [id, row] of replicas) {
    state.replicas.set(id, { ...row, registration: fromJson(route.ReplicaRegisteredSchema, row.registration) });
  }
  for (const [id, row] of policies) {
    state.policies.set(id, { ...row, policy: fromJson(route.RoutingPolicySchema, row.policy) });
  }
  for (const [id, row] of modelRoutes) {
    state.modelRoutes.set(id, { ...row, route: fromJson(route.ModelRouteSchema, row.route) });
  }
  indexPolicies(state);
  indexModelRoutes(state);
  return state;
}
