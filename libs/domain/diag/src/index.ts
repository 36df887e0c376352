export type {
  AdminKeyAnswer,
  AdminKeyItem,
  ApplyAnswer,
  BudgetItem,
  CalibrationAnswer,
  CalibrationDecile,
  CalibrationItem,
  DeadLetterAnswer,
  DeadLetterItem,
  Durable,
  FailedLine,
  KeyAnswer,
  KeyDetail,
  KeyItem,
  LimitItem,
  ListAnswer,
  LogAnswer,
  NotaryAnswer,
  OneAnswer,
  PolicyItem,
  PriceItem,
  ProjectItem,
  ProjectionState,
  ProjectionVerdict,
  RebuildLine,
  ReceiptAnswer,
  RedriveAnswer,
  ReplicaItem,
  ReplicaLive,
  ReplayCounts,
  ReplayDifference,
  ReplayLine,
  RequestItem,
  StateAnswer,
  TenantDetail,
  TenantItem,
  UsageAnswer,
  UsageItem,
  UserItem,
  VerifyAnswer,
  VerifyPart,
  WhyAnswer,
} from './answers.ts';
export { Calibration } from './calibration.ts';
export type { CommitExplanation, EventExplanation, ReasonExplanation } from './explain-commit.ts';
export { explainCommit } from './explain-commit.ts';
export type { CostExplanation } from './explain-cost.ts';
export { costState } from './explain-cost.ts';
export type {
  AttemptExplanation,
  CandidateExplanation,
  ForecastExplanation,
  InputExplanation,
  PickExplanation,
  RequestExplanation,
  TunnelExplanation,
} from './explain-request.ts';
export { explainRequest } from './explain-request.ts';
export type { LookExplanation, ModelChoiceExplanation, StageExplanation } from './explain-choice.ts';
export type { ModelRouteItem } from './model-route-items.ts';
export { modelRouteItems } from './model-route-items.ts';
export { choiceSentence, stageText } from './explain-choice.ts';
export type { FleetState, StateEntry, StateJson, StateKind } from './fleet-state.ts';
export {
  emptyFleetState,
  evolveFleet,
  fleetFoldVersion,
  fleetStateFromJson,
  stateJson,
  stateKinds,
} from './fleet-state.ts';
export type { ListedState } from './list-items.ts';
export { limitItems, policyItems, replicaItems, requestItem, tenantItems } from './list-items.ts';
export type { Json } from './json.ts';
export { enumName, known } from './json.ts';
export type { Moment } from './moment.ts';
export type { NotaryLimits, NotaryPosition } from './notary-plan.ts';
export { planSeals } from './notary-plan.ts';
export { momentText, parseDuration, parseMoment, parseTime } from './moment.ts';
export type { FieldChange, StateChange } from './state-diff.ts';
export { diffStates } from './state-diff.ts';
export { summarize } from './summary.ts';
export type { ArchiveVerdict } from './verify-archive.ts';
export { verifyArchive } from './verify-archive.ts';
