export type { FaultKind, Faults } from './faults.ts';
export { everyFault, faultKinds, faultNames, noFaults, onlyFaults, swarm } from './faults.ts';
export { plants } from './plants.ts';
export type { SimFailure, SimReport, SimulateOptions } from './simulate.ts';
export { simulate } from './simulate.ts';
