export type { ConnectNatsOptions } from './connection.ts';
export { connectNats, NatsLink } from './connection.ts';
export { natsLimits } from './limits.ts';
export type { NatsUser, UserPermissions } from './permissions.ts';
export { buckets, natsUsers, userPermissions } from './permissions.ts';
export type { NatsPassword, NatsServerConfig } from './server-config.ts';
export { natsServerConfig } from './server-config.ts';
