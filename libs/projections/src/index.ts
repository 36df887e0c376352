export type { AppendedRows, Change } from './changes.ts';
export { applyChanges, Changes } from './changes.ts';
export type { CommitProjectionOptions, JudgedCommit } from './commit-fold.ts';
export { commitProjection, headTable } from './commit-fold.ts';
export { commits, commitTable } from './commits.projection.ts';
export {
  configuration,
  configurationTable,
  keyTable,
  policyTable,
  policyVersionTable,
  tenantTable,
} from './configuration.projection.ts';
export { cursorTable, gapTable } from './frame-cursors.ts';
export { MemoryProjectionStore } from './memory-store.ts';
export type { HostEntry, ProjectionHostOptions } from './host.ts';
export { ProjectionHost } from './host.ts';
export type { Fold, Item, ItemSource, Projection, StateRows } from './projection.ts';
export { projectionId } from './projection.ts';
export { replicas, replicaTable } from './replicas.projection.ts';
export { requests, requestTable } from './requests.projection.ts';
export type { RunnerHooks, RunnerLimits, RunnerOptions, RunnerState, RunnerStatus } from './runner.ts';
export { ProjectionRunner, runnerLimits } from './runner.ts';
export { singleRecordFrame } from './single-record.ts';
export type { Generation, Halt, Move, Opened, ProjectionStore } from './store.ts';
export type { ColumnKind, JsonValue, Row, Table, Value } from './table.ts';
export { keyText } from './table.ts';
export { ledgerSourceTable } from './seen-frames.ts';
export { openUsageTable, usage, usageTable } from './usage.projection.ts';
export { normalize } from './value.ts';
