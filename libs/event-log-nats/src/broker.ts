import type { EventRegistry } from '#libs/contracts';
import { streams } from '#libs/contracts';
import type { Broker } from '#libs/event-log';
import { CommitDecoder } from '#libs/event-log';
import { NatsAnchorStream } from './anchors.ts';
import { NatsRequester, NatsResponder, NatsTelemetry } from './bus.ts';
import type { ConnectNatsOptions } from './connection.ts';
import { connectNats } from './connection.ts';
import { NatsDeadLetters } from './dead-letters.ts';
import { NatsEventLog } from './event-log.ts';
import { NatsFrameStream } from './frames.ts';
import { NatsReactor } from './reactor.ts';
import { NatsReaderRegistry } from './readers.ts';
import { NatsSnapshotStore } from './snapshots.ts';
import type { EnsureStreamsOptions } from './streams.ts';
import { ensureStreams } from './streams.ts';

/**
 * Every port of one app on one connection, with the streams set up and compared.
 * @throws as connectNats and ensureStreams
 */
export async function natsBroker(
  options: ConnectNatsOptions & { readonly registry: EventRegistry; readonly streams?: EnsureStreamsOptions },
): Promise<Broker> {
  const link = await connectNats(options);
  const say = options.log === undefined ? {} : { log: options.log };
  try {
    await ensureStreams(link, { ...say, ...options.streams });
  } catch (error) {
    await link.close();
    throw error;
  }
  const log = new NatsEventLog(link, say);
  const frames = new NatsFrameStream(link, say);
  const kv = new NatsFrameStream(link, { ...say, stream: streams.kv });
  const deadLetters = new NatsDeadLetters(link);
  const decoder = new CommitDecoder(options.registry);
  return {
    durability: 'disk',
    description: `nats-server ${link.serverVersion}`,
    get connected() {
      return link.connected;
    },
    log,
    frames,
    kv,
    anchors: new NatsAnchorStream(link),
    readers: new NatsReaderRegistry(link),
    snapshots: new NatsSnapshotStore(link),
    deadLetters,
    requester: new NatsRequester(link),
    responder: new NatsResponder(link),
    telemetry: new NatsTelemetry(link),
    makeReactor: (spec) =>
      new NatsReactor({
        ...spec,
        link,
        log,
        decoder,
        deadLetters,
        ...(options.log === undefined ? {} : { report: options.log }),
      }),
    close: async () => {
      await log.close();
      await frames.close();
      await kv.close();
      await link.close();
    },
  };
}
