import type { MessageInitShape } from '@bufbuild/protobuf';
import { create } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import type { ModelRouteCommand } from './model-route.decider.ts';
import { modelRoute } from './model-route.decider.ts';
import type { PolicyCommand } from './policy.decider.ts';
import { policy } from './policy.decider.ts';
import type { ReplicaCommand } from './replica.decider.ts';
import { replica } from './replica.decider.ts';
import type { RouteState } from './state.ts';

/** What a document asks for. */
export interface DesiredRouting {
  readonly replicas: readonly MessageInitShape<typeof route.ReplicaRegisteredSchema>[];
  readonly policies: readonly MessageInitShape<typeof route.RoutingPolicySchema>[];
  /** None where it is not given. */
  readonly modelRoutes?: readonly MessageInitShape<typeof route.ModelRouteSchema>[] | undefined;
}

export interface PlanOptions {
  /** Stands in the events of policies: "config:lintel.yaml". */
  readonly source: string;
  /** What the document may take away when it does not name it; by default all but what `lintel apply` brought. */
  readonly owns?: (source: string) => boolean;
}

/** One command for one aggregate, with a line that tells a person what it changes. */
export type PlannedRouting =
  | { readonly aggregate: 'replica'; readonly id: string; readonly command: ReplicaCommand; readonly change: string }
  | { readonly aggregate: 'policy'; readonly id: string; readonly command: PolicyCommand; readonly change: string }
  | {
      readonly aggregate: 'modelroute';
      readonly id: string;
      readonly command: ModelRouteCommand;
      readonly change: string;
    };

const ownsByDefault = (source: string): boolean => source !== 'apply';
const notNamed = 'configuration: not named any more';

/**
 * The commands that turn `state` into what is desired: none when it is so already. Pure: the deciders themselves say whether a
 * command would change anything. @throws the refusal of the first command that a decider refuses, so nothing is applied in part
 */
export function planConfiguration(desired: DesiredRouting, state: RouteState, options: PlanOptions): PlannedRouting[] {
  const owns = options.owns ?? ownsByDefault;
  return [
    ...planReplicas(desired, state, owns),
    ...planPolicies(desired, state, options.source, owns),
    ...planModelRoutes(desired, state, options.source, owns),
  ];
}

function planReplicas(desired: DesiredRouting, state: RouteState, owns: (source: string) => boolean): PlannedRouting[] {
  const plan: PlannedRouting[] = [];
  const wanted = new Set<string>();
  for (const init of desired.replicas) {
    const { replicaId: id, url } = create(route.ReplicaRegisteredSchema, init);
    const before = state.replicas.get(id);
    const command: ReplicaCommand = { type: 'RegisterReplica', replica: init };
    wanted.add(id);
    if (replica.decide(before ?? replica.initial, command).length === 0) continue;
    const change = before === undefined ? `+ replica ${id} ${url}` : `~ replica ${id} ${url}`;
    plan.push({ aggregate: 'replica', id, command, change });
  }
  for (const [id, { registration }] of state.replicas) {
    if (wanted.has(id) || !owns(registration.source)) continue;
    const command: ReplicaCommand = { type: 'RemoveReplica', replicaId: id, reason: notNamed };
    plan.push({ aggregate: 'replica', id, command, change: `- replica ${id} ${registration.url}` });
  }
  return plan;
}

function planPolicies(
  desired: DesiredRouting,
  state: RouteState,
  source: string,
  owns: (source: string) => boolean,
): PlannedRouting[] {
  const plan: PlannedRouting[] = [];
  const wanted = new Set<string>();
  for (const init of desired.policies) {
    const { policyId: id, models } = create(route.RoutingPolicySchema, init);
    const before = state.policies.get(id);
    const command: PolicyCommand = { type: 'AdoptPolicy', policy: init, source };
    wanted.add(id);
    if (policy.decide(before ?? policy.initial, command).length === 0) continue;
    const change = `${before === undefined ? '+' : '~'} policy ${id} for ${models.join(', ')}`;
    plan.push({ aggregate: 'policy', id, command, change });
  }
  for (const [id, before] of state.policies) {
    if (wanted.has(id) || !owns(before.source)) continue;
    const command: PolicyCommand = { type: 'RetirePolicy', policyId: id, reason: notNamed };
    plan.push({ aggregate: 'policy', id, command, change: `- policy ${id}` });
  }
  return plan;
}

function planModelRoutes(
  desired: DesiredRouting,
  state: RouteState,
  source: string,
  owns: (source: string) => boolean,
): PlannedRouting[] {
  const plan: PlannedRouting[] = [];
  const wanted = new Set<string>();
  for (const init of desired.modelRoutes ?? []) {
    const { routeId: id, models } = create(route.ModelRouteSchema, init);
    const before = state.modelRoutes.get(id);
    const command: ModelRouteCommand = { type: 'SetModelRoute', route: init, source };
    wanted.add(id);
    if (modelRoute.decide(before ?? modelRoute.initial, command).length === 0) continue;
    const change = `${before === undefined ? '+' : '~'} model route ${id} for ${models.join(', ')}`;
    plan.push({ aggregate: 'modelroute', id, command, change });
  }
  for (const [id, before] of state.modelRoutes) {
    if (wanted.has(id) || !owns(before.source)) continue;
    const command: ModelRouteCommand = { type: 'RemoveModelRoute', routeId: id, reason: notNamed };
    plan.push({ aggregate: 'modelroute', id, command, change: `- model route ${id}` });
  }
  return plan;
}
