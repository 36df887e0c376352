import { EventRegistry } from '#libs/contracts';
import { natsBroker } from '#libs/event-log-nats';
import { runApp } from '#libs/nest-kit';
import { startKvIndex } from './start.ts';

runApp({
  name: 'kv-index',
  page: 'docs/kv-index.md',
  portDefault: 8091,
  brokerUser: 'kv',
  connect: async (access) => await natsBroker({ ...access, registry: new EventRegistry() }),
  start: startKvIndex,
});
