export { BlockPool } from './block-pool.ts';
export { EngineModel, heldMsMax } from './engine-model.ts';
export { blockHash, rootHash } from './hash-chain.ts';
export { LoraSlots } from './lora-slots.ts';
export { a100Llama8b, assumptions, h100Llama8b, profiles, stepDurationMs } from './profiles.ts';
export type { CostProfile } from './profiles.ts';
export type {
  AllBlocksCleared,
  BlockRemoved,
  BlockStored,
  EngineCounts,
  EngineListener,
  EngineModelOptions,
  FinishReason,
  KvEvent,
  SequenceRequest,
  SequenceView,
  StepReport,
} from './types.ts';
