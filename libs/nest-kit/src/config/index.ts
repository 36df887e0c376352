export { loadConfig, parseConfig } from './load.ts';
export type { ConfigProblem } from './problem-list.ts';
export { ConfigInvalid } from './problem-list.ts';
export type { LintelConfig, PolicyConfig, ReplicaConfig, TenantConfig } from './schema.ts';
