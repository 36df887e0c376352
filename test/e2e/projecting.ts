import { EventRegistry } from '#libs/contracts';
import type { StoredCommit, StoredFrame } from '#libs/event-log';
import { natsBroker } from '#libs/event-log-nats';
import { systemEnvironment } from '#libs/kernel';
import { ProjectionHost } from '#libs/projections';
import { eventProjections, frameProjections, openDatabase, PostgresProjectionStore } from '#libs/projections-postgres';

/** A process that does nothing but project, in small batches so that it is always in the middle of something. Made to be killed. */
const [natsUrl = '', databaseUrl = ''] = process.argv.slice(2);
const broker = await natsBroker({ url: natsUrl, name: 'projecting', registry: new EventRegistry() });
const host = new ProjectionHost({
  store: new PostgresProjectionStore(openDatabase({ url: databaseUrl })),
  environment: systemEnvironment,
  limits: { batchItemsMax: 3 },
});
for (const projection of eventProjections) host.start<StoredCommit>({ projection, source: broker.log });
for (const projection of frameProjections) host.start<StoredFrame>({ projection, source: broker.frames });
