export type { NatsCredentials, ProvidedNats, ProvideNatsOptions } from './nats.ts';
export { provideNats } from './nats.ts';
export type { FindNatsOptions, NatsBinary, NatsHow, NatsMissing } from './nats-binary.ts';
export { findNats, natsVersions } from './nats-binary.ts';
export type { NatsStart } from './nats-process.ts';
export { freeNatsPort, greeting, startNats, stopNats } from './nats-process.ts';
export type { ProvidedPostgres, ProvidePostgresOptions } from './postgres.ts';
export { providePostgres } from './postgres.ts';
