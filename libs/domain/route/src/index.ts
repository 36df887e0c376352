export type { AibrixPolicy } from './aibrix-config.ts';
export { parseAibrixConfig } from './aibrix-config.ts';
export type { ConfigurationCommand, ConfigurationEvent, ConfigurationState } from './configuration.decider.ts';
export { configuration } from './configuration.decider.ts';
export type { ExplainedCandidate, ExplainedPick, ExplainedScore, ExplainedValue } from './explain.ts';
export { explain } from './explain.ts';
export type { DesiredRouting, PlannedRouting, PlanOptions } from './plan.ts';
export { planConfiguration } from './plan.ts';
export type { ShareChoice, Spares, Stage, StageSeen } from './model-choice.ts';
export { causeOf, choiceHash, chooseShare, pickStage, stagesOf } from './model-choice.ts';
export type { HashedBy, ModelRouteCommand, ModelRouteEvent, ModelRouteState } from './model-route.decider.ts';
export { checkModelRoute, modelRoute, modelRouteText } from './model-route.decider.ts';
export type { PolicyCommand, PolicyEvent } from './policy.decider.ts';
export { checkPolicy, policy, policyLimits } from './policy.decider.ts';
export type { FlowProfile } from './flow-profile.ts';
export type { ContinuationProfile, HedgeProfile } from './stream-profiles.ts';
export type { ResolvedProfile, RoutingHeaders } from './profiles.ts';
export { builtInPolicy, defaultStrategy, resolveProfile, selectPolicy } from './profiles.ts';
export type { Difference, Reexecution } from './reexecute.ts';
export { reexecute } from './reexecute.ts';
export type { ReplicaCommand, ReplicaEvent, ReplicaState } from './replica.decider.ts';
export { replica } from './replica.decider.ts';
export { isPrivateAddress, isPrivateHost } from './private-address.ts';
export { checkProvider } from './provider.ts';
export type { Selector } from './selector.ts';
export { parseSelector } from './selector.ts';
export type { TokenCounts } from './routing-config.ts';
export type { ModelRouteInForce, PolicyInForce, RoutableReplica, RouteState } from './state.ts';
export type { WakeCommand, WakeEvent, WakeState } from './wake.decider.ts';
export { wake, wakeIdOf } from './wake.decider.ts';
export {
  emptyRouteState,
  evolveRoute,
  modelRouteFor,
  routeFoldVersion,
  routeStateFromJson,
  routeStateToJson,
} from './state.ts';
