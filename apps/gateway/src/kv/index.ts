export { exposeKv } from './kv-metrics.ts';
export { PreciseIndex } from './precise-index.ts';
