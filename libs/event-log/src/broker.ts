import type { EventRegistry } from '#libs/contracts';
import type { Environment } from '#libs/kernel';
import type { AnchorStream } from './anchor-stream.ts';
import { MemoryAnchorStream } from './anchor-stream.ts';
import type { Requester, Responder, Telemetry } from './bus.ts';
import type { DecodedCommit } from './codec.ts';
import { CommitDecoder } from './codec.ts';
import type { DeadLetters } from './dead-letters.ts';
import type { FrameStream } from './frames.ts';
import { MemoryBus } from './memory-bus.ts';
import { MemoryFrameStream } from './memory-frames.ts';
import { MemoryEventLog } from './memory-log.ts';
import { MemoryDeadLetters, MemoryReactor } from './memory-reactor.ts';
import type { EventLog } from './port.ts';
import type { ReaderRegistry } from './readers.ts';
import { MemoryReaderRegistry } from './readers.ts';
import type { SnapshotStore } from './snapshots.ts';
import { MemorySnapshotStore } from './snapshots.ts';

export interface ReactorSpec {
  /** Name of its progress, for ever: `<app>-<purpose>`. */
  readonly consumer: string;
  readonly subject: string;
  readonly handler: (commit: DecodedCommit) => Promise<void>;
}

/** Everything that one app needs of its broker: one port each, on one connection as one user. */
export interface Broker {
  /** "memory" is lost with the process, and every output that rests on it says so. */
  readonly durability: 'memory' | 'disk';
  /** For people: "nats-server 2.15.1", "in memory". */
  readonly description: string;
  /** False while it is away. */
  readonly connected: boolean;
  readonly log: EventLog;
  readonly frames: FrameStream;
  /** What engines hold, as their KV events say it: minutes of it. */
  readonly kv: FrameStream;
  readonly anchors: AnchorStream;
  readonly readers: ReaderRegistry;
  readonly snapshots: SnapshotStore;
  readonly deadLetters: DeadLetters;
  readonly requester: Requester;
  readonly responder: Responder;
  readonly telemetry: Telemetry;
  makeReactor(spec: ReactorSpec): { start(): Promise<void>; stop(): Promise<void> };
  close(): Promise<void>;
}

const memoryKvBytesMax = 64 * 1024 ** 2;

/** A broker inside this process, shared by the apps of it: for development without nats-server, and for tests. */
export function memoryBroker(environment: Environment, registry: EventRegistry): Broker {
  const log = new MemoryEventLog({ clock: environment.clock });
  const frames = new MemoryFrameStream({ clock: environment.clock });
  const kv = new MemoryFrameStream({ clock: environment.clock, bytesMax: memoryKvBytesMax });
  const bus = new MemoryBus(environment.timers);
  const deadLetters = new MemoryDeadLetters();
  const decoder = new CommitDecoder(registry);
  return {
    durability: 'memory',
    description: 'in memory',
    connected: true,
    log,
    frames,
    kv,
    anchors: new MemoryAnchorStream(),
    readers: new MemoryReaderRegistry(environment.clock),
    snapshots: new MemorySnapshotStore(),
    deadLetters,
    requester: bus,
    responder: bus,
    telemetry: bus,
    makeReactor: ({ consumer, subject, handler }) =>
      new MemoryReactor({ consumer, subjects: [subject], handler, log, decoder, deadLetters, environment }),
    close: async () => {
      await log.close();
      await frames.close();
      await kv.close();
    },
  };
}
