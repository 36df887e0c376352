export type {
  ApplyAnswer,
  DeadLetterItem,
  Durable,
  KeyAnswer,
  ListAnswer,
  LogAnswer,
  ProjectionState,
  ProjectionVerdict,
  RebuildLine,
  ReceiptAnswer,
  ReplayCounts,
  ReplayDifference,
  ReplayLine,
  StateAnswer,
  VerifyAnswer,
  VerifyPart,
  WhyAnswer,
} from './answers.ts';
export type { CommitExplanation, EventExplanation, ReasonExplanation } from './explain-commit.ts';
export { explainCommit } from './explain-commit.ts';
export type {
  AttemptExplanation,
  CandidateExplanation,
  InputExplanation,
  PickExplanation,
  RequestExplanation,
} from './explain-request.ts';
export { explainRequest } from './explain-request.ts';
export type { FleetState, StateEntry, StateJson, StateKind } from './fleet-state.ts';
export { emptyFleetState, evolveFleet, stateJson, stateKinds } from './fleet-state.ts';
export type { Json } from './json.ts';
export { enumName, known } from './json.ts';
export type { Moment } from './moment.ts';
export { momentText, parseDuration, parseMoment, parseTime } from './moment.ts';
export type { FieldChange, StateChange } from './state-diff.ts';
export { diffStates } from './state-diff.ts';
export { summarize } from './summary.ts';
export type { ArchiveVerdict } from './verify-archive.ts';
export { verifyArchive } from './verify-archive.ts';
