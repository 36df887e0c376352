export { CandidateTable } from './candidate-table.ts';
export { canonicalJson, parsePipeline, pipelineHash } from './canonical.ts';
export type {
  Candidates,
  Column,
  Decision,
  Filter,
  Notes,
  Params,
  PickContext,
  Picker,
  PipelineSpec,
  Plugin,
  PluginUse,
  RequestFeatures,
  Scorer,
} from './contract.ts';
export { columnIndex, columns } from './contract.ts';
export { CompiledPipeline, compilePipeline } from './pipeline.ts';
export { strategyNames } from './presets.ts';
export { PluginMissing, pluginVersions } from './registry.ts';
export { Scheduler } from './scheduler.ts';
export type { PluginParams } from './strategy.ts';
export { parseStrategy, resolveStrategy, strategyLimits } from './strategy.ts';
