import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  FileSnapshotStore,
  MemoryAnchorStream,
  MemoryBus,
  MemoryEventLog,
  MemoryFrameStream,
  MemoryReaderRegistry,
  MemorySnapshotStore,
} from '#libs/event-log';
import { systemClock, systemTimers } from '#libs/kernel';
import {
  anchorStreamContract,
  busContract,
  eventLogContract,
  frameStreamContract,
  readerRegistryContract,
  snapshotStoreContract,
  versionsContract,
} from '#libs/testkit';

eventLogContract('MemoryEventLog', async () => ({ log: new MemoryEventLog({ clock: systemClock }) }));
frameStreamContract('MemoryFrameStream', async () => ({ frames: new MemoryFrameStream({ clock: systemClock }) }));
anchorStreamContract('MemoryAnchorStream', async () => ({ anchors: new MemoryAnchorStream() }));
busContract('MemoryBus', async () => {
  const bus = new MemoryBus(systemTimers);
  return { requester: bus, responder: bus, telemetry: bus };
});
readerRegistryContract('MemoryReaderRegistry', async () => {
  let nowMs = 0;
  const readers = new MemoryReaderRegistry({ nowMs: () => nowMs, monotonicMs: () => nowMs }, 1_000);
  return { readers, expire: async () => void (nowMs += 1_001) };
});
versionsContract('L11 MemoryEventLog', async () => ({
  log: new MemoryEventLog({ clock: systemClock }),
  readers: new MemoryReaderRegistry(systemClock),
}));
snapshotStoreContract('MemorySnapshotStore', async () => ({ store: new MemorySnapshotStore() }));
snapshotStoreContract('FileSnapshotStore', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'lintel-snapshots-'));
  return { store: new FileSnapshotStore(folder), stop: () => rm(folder, { recursive: true }) };
});
