export { exposeKv } from './kv-metrics.ts';
export { PreciseIndex } from './precise-index.ts';
export { exposeWarming, Warmer } from './warming/index.ts';
