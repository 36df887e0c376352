export { arrivalOf, FlowGate } from './flow-gate.ts';
export { causeOfRefusal } from './refusals.ts';
export type { FlowAsker, Passage } from './passage.ts';
