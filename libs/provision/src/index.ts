export type { ProvidedPostgres, ProvidePostgresOptions } from './postgres.ts';
export { providePostgres } from './postgres.ts';
