export type {
  Candidates,
  Column,
  Decision,
  Filter,
  Params,
  Picker,
  PipelineSpec,
  PluginUse,
  RequestFeatures,
  Scorer,
} from './contract.ts';
export { columns } from './contract.ts';
