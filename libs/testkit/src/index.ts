export type { LaunchedPostgres, LaunchPostgresOptions } from './launch-postgres.ts';
export { launchPostgres } from './launch-postgres.ts';
