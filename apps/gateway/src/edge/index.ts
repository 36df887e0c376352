export { networkOf } from './addresses.ts';
export type { Edge } from './edge.ts';
export { plainEdge, startEdge } from './edge.ts';
export { exposeEdge } from './edge-metrics.ts';
export type { EdgeFront } from './front.ts';
