import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { emptyHead, sha256Hex } from '#libs/event-log';
import type { LaunchedNats } from '#libs/testkit';
import { eventually, launchNats, sampleCommit } from '#libs/testkit';
import { NatsAnchorStream } from './anchors.ts';
import { NatsTelemetry } from './bus.ts';
import { NatsEventLog } from './event-log.ts';
import { NatsFrameStream } from './frames.ts';
import { NatsReaderRegistry } from './readers.ts';
import { NatsSnapshotStore } from './snapshots.ts';
import { ensureStreams } from './streams.ts';

describe.each(['oldest', 'newest'] as const)('confined users of the %s server do their work', (version) => {
  let nats: LaunchedNats;

  beforeAll(async () => {
    nats = await launchNats({ version });
  });

  afterAll(() => nats.stop());

  test('any service sets the streams up, and again without a change', async () => {
    const gateway = await nats.connect('gateway');
    const diagnostics = await nats.connect('diagnostics');
    const both = await Promise.all([ensureStreams(gateway), ensureStreams(diagnostics)]);
    expect(new Set(both.flatMap(({ created }) => created)).size).toBe(7);
    for (const { differences } of both) expect(differences).toEqual([]);
    expect((await ensureStreams(gateway)).created).toEqual([]);
  });

  test('the gateway writes commits, frames, snapshots, announcements and telemetry', async () => {
    const link = await nats.connect('gateway');
    await new NatsEventLog(link).append(sampleCommit({ id: 'u1', commitId: 'u1' }), emptyHead);
    const frames = new NatsFrameStream(link);
    const { seq } = await frames.publish('lintel.rq.gw1', 'gw1-b1-1', new Uint8Array([1, 2, 3]));
    expect(await frames.publish('lintel.rq.gw1', 'gw1-b1-1', new Uint8Array([1, 2, 3]))).toEqual({
      seq,
      duplicate: true,
    });
    const store = new NatsSnapshotStore(link);
    for (const byte of [1, 2]) {
      const bytes = new Uint8Array(600_000).fill(byte);
      await store.save({ name: 'gateway__route', foldVersion: '1', seq: byte, hash: sha256Hex(bytes), bytes });
    }
    expect((await store.load('gateway__route', '1'))?.bytes[0]).toBe(2);
    await new NatsReaderRegistry(link).announce('gateway:gw1', { route: 1 });
    const seen: string[] = [];
    const telemetry = new NatsTelemetry(link);
    const stop = await telemetry.subscribe('lintel.tm.>', (subject) => void seen.push(subject));
    telemetry.publish('lintel.tm.gw1.load', new Uint8Array([1]));
    await eventually(() => expect(seen).toEqual(['lintel.tm.gw1.load']));
    await stop();
  });

  test('diagnostics follows everything, seals, and may not write frames', async () => {
    const link = await nats.connect('diagnostics');
    const [log, frames, anchors] = [new NatsEventLog(link), new NatsFrameStream(link), new NatsAnchorStream(link)];
    const seen: string[] = [];
    const followings = [
      await log.follow({ fromSeq: 1 }, ({ commitId }) => void seen.push(commitId)),
      await frames.follow({ fromSeq: 1 }, ({ msgId }) => void seen.push(msgId)),
    ];
    await eventually(() => expect(seen.sort()).toEqual(['gw1-b1-1', 'u1']));
    for (const following of followings) await following.stop();
    const [last] = (await anchors.readAll()).slice(-1);
    await anchors.append('{"lastSeq":1}', last?.seq ?? 0);
    await expect(frames.publish('lintel.rq.gw1', 'forged', new Uint8Array())).rejects.toMatchObject({
      code: 'FRAMES_FORBIDDEN',
    });
    await expect(new NatsAnchorStream(await nats.connect('gateway')).append('{}', 1)).rejects.toMatchObject({
      code: 'ANCHORS_FORBIDDEN',
    });
  });

  test('nobody hears the answers of others', async () => {
    const link = await nats.connect('gateway');
    const refused = new Promise<string>((done) => {
      link.nc.subscribe('_INBOX.>', { callback: (error) => void (error !== null && done(error.message)) });
    });
    expect(await refused).toMatch(/permissions violation/i);
  });
});
