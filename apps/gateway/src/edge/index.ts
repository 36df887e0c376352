export { networkOf } from './addresses.ts';
export type { Edge } from './edge.ts';
export { plainEdge, startEdge } from './edge.ts';
export { boundConnections } from './connection-bound.ts';
export { exposeEdge } from './edge-metrics.ts';
export type { EdgeFront } from './front.ts';
