import { afterAll, beforeAll, describe } from '@jest/globals';
import type { LaunchedNats } from '#libs/testkit';
import {
  anchorStreamContract,
  busContract,
  eventLogContract,
  frameStreamContract,
  launchNats,
  readerRegistryContract,
  snapshotStoreContract,
  versionsContract,
} from '#libs/testkit';
import { NatsAnchorStream } from './anchors.ts';
import { NatsRequester, NatsResponder, NatsTelemetry } from './bus.ts';
import type { NatsLink } from './connection.ts';
import { NatsEventLog } from './event-log.ts';
import { NatsFrameStream } from './frames.ts';
import { NatsReaderRegistry } from './readers.ts';
import { NatsSnapshotStore } from './snapshots.ts';
import { ensureStreams } from './streams.ts';

const readersTtlMs = 1_000;

/** The same suites as the implementations in memory, on both ends of the servers that Lintel runs on. */
describe.each(['oldest', 'newest'] as const)('JetStream of the %s server', (version) => {
  let nats: LaunchedNats;

  beforeAll(async () => {
    nats = await launchNats({ version });
  });

  afterAll(() => nats.stop());

  const empty = async (): Promise<NatsLink> => {
    const link = await nats.connect();
    for await (const { config } of link.jsm.streams.list()) await link.jsm.streams.delete(config.name);
    await ensureStreams(link, { bounds: { readersTtlMs } });
    return link;
  };

  eventLogContract('NatsEventLog', async () => {
    const link = await empty();
    return {
      log: new NatsEventLog(link),
      again: async () => new NatsEventLog(await nats.connect()),
      stop: () => link.close(),
    };
  });

  frameStreamContract('NatsFrameStream', async () => {
    const link = await empty();
    return { frames: new NatsFrameStream(link), stop: () => link.close() };
  });

  anchorStreamContract('NatsAnchorStream', async () => {
    const link = await empty();
    return { anchors: new NatsAnchorStream(link), stop: () => link.close() };
  });

  readerRegistryContract('NatsReaderRegistry', async () => {
    const link = await empty();
    return {
      readers: new NatsReaderRegistry(link),
      expire: () => new Promise((done) => setTimeout(done, readersTtlMs + 600)),
      stop: () => link.close(),
    };
  });

  versionsContract('L11 NatsEventLog', async () => {
    const link = await empty();
    return { log: new NatsEventLog(link), readers: new NatsReaderRegistry(link), stop: () => link.close() };
  });

  snapshotStoreContract('NatsSnapshotStore', async () => {
    const link = await empty();
    return { store: new NatsSnapshotStore(link), stop: () => link.close() };
  });

  busContract('NatsRequester, NatsResponder, NatsTelemetry', async () => {
    const [asker, answerer] = [await nats.connect('diagnostics'), await nats.connect('gateway')];
    return {
      requester: new NatsRequester(asker),
      responder: new NatsResponder(answerer),
      telemetry: new NatsTelemetry(answerer),
      stop: async () => {
        await asker.close();
        await answerer.close();
      },
    };
  });
});
