export type { DesiredConfiguration, DesiredTenantConfig } from './desired.ts';
export { desiredOf } from './desired.ts';
export { loadConfig, parseConfig } from './load.ts';
export type { ConfigProblem } from './problem-list.ts';
export { ConfigInvalid } from './problem-list.ts';
export type { LintelConfig, PolicyConfig, ReplicaConfig, TenantConfig } from './schema.ts';
export type { ConfigWatch } from './watch.ts';
export { contentHash, watchConfig } from './watch.ts';
