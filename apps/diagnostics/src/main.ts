import { mkdir } from 'node:fs/promises';
import { EventRegistry } from '#libs/contracts';
import { natsBroker } from '#libs/event-log-nats';
import { env, runApp } from '#libs/nest-kit';
import { startDiagnostics } from './start.ts';

const { home, databaseUrl } = env;

runApp({
  name: 'diagnostics',
  page: 'docs/diagnostics.md',
  portDefault: 8090,
  brokerUser: 'diagnostics',
  prepare: async () => await mkdir(home, { recursive: true }),
  connect: async (access) => await natsBroker({ ...access, registry: new EventRegistry() }),
  start: async (given) => await startDiagnostics({ ...given, home, databaseUrl }),
});
