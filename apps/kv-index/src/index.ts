export type { KvIndexOptions, RunningKvIndex } from './options.ts';
export { startKvIndex } from './start.ts';
