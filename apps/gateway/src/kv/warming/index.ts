export { Warmer } from './warmer.ts';
export { exposeWarming } from './warming-metrics.ts';
