export type { FairnessOptions, FairnessTenant, TenantReport } from './fairness.ts';
export { simulateFairness } from './fairness.ts';
export type { NoisyReport } from './noisy-neighbour.ts';
export { noisyNeighbour } from './noisy-neighbour.ts';
