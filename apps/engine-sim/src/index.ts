export type { FaultRule } from './faults.ts';
export type { EngineSimOptions, KvEventsOptions } from './options.ts';
export { startEngineSim } from './server.ts';
export type { RunningEngineSim } from './server.ts';
