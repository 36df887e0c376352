export { FlowGate } from './flow-gate.ts';
export type { FlowAsker, Passage } from './passage.ts';
