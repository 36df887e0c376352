import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { AnchorStream, FrameStream, StoredFrame } from '#libs/event-log';
import { eventually } from '../eventually.ts';

export interface FramesUnderTest {
  readonly frames: FrameStream;
  readonly stop?: () => Promise<void>;
}

const subject = 'lintel.rq.gw1';
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));

/** What a stream of record frames means. `make` gives an empty one for each test. */
export function frameStreamContract(name: string, make: () => Promise<FramesUnderTest>): void {
  describe(`${name} is a FrameStream`, () => {
    let under: FramesUnderTest;
    let frames: FrameStream;

    beforeEach(async () => {
      under = await make();
      frames = under.frames;
    });

    afterEach(async () => {
      await frames.close();
      await under.stop?.();
    });

    const collect = async (range: Parameters<FrameStream['read']>[0]): Promise<StoredFrame[]> => {
      const all: StoredFrame[] = [];
      for await (const frame of frames.read(range)) all.push(frame);
      return all;
    };

    test('an empty stream', async () => {
      expect(await frames.lastSeq()).toBe(0);
      expect(await frames.firstSeq()).toBe(1);
      expect(await collect({ fromSeq: 1 })).toEqual([]);
    });

    test('frames come back byte for byte, zeros and all', async () => {
      const binary = new Uint8Array(256).map((_, index) => index);
      expect(await frames.publish(subject, 'gw1-b1-1', binary)).toEqual({ seq: 1, duplicate: false });
      const [frame] = await collect({ fromSeq: 1 });
      expect(frame).toMatchObject({ seq: 1, subject, msgId: 'gw1-b1-1', storedAtMs: expect.any(Number) });
      expect([...(frame?.bytes ?? [])]).toEqual([...binary]);
    });

    test('L8 a frame sent again is a duplicate of the first', async () => {
      await frames.publish(subject, 'gw1-b1-1', bytes('one'));
      await frames.publish(subject, 'gw1-b1-2', bytes('two'));
      expect(await frames.publish(subject, 'gw1-b1-1', bytes('one'))).toEqual({ seq: 1, duplicate: true });
      expect(await frames.lastSeq()).toBe(2);
      expect(await frames.firstSeq()).toBe(1);
    });

    test('follow gives the stored ones and then the new ones', async () => {
      await frames.publish(subject, 'm1', bytes('1'));
      await frames.publish(subject, 'm2', bytes('2'));
      const seen: string[] = [];
      const following = await frames.follow({ fromSeq: 2 }, ({ msgId }) => void seen.push(msgId));
      await frames.publish(subject, 'm3', bytes('3'));
      await eventually(() => expect(seen).toEqual(['m2', 'm3']));
      await following.stop();
      await expect(following.ended).resolves.toBeUndefined();
    });

    test('read answers a range by subject', async () => {
      for (let n = 1; n <= 4; n++) await frames.publish(n % 2 ? subject : 'lintel.rq.gw2', `m${n}`, bytes(`${n}`));
      expect((await collect({ fromSeq: 2, toSeq: 3 })).map(({ seq }) => seq)).toEqual([2, 3]);
      expect((await collect({ fromSeq: 1, subjects: ['lintel.rq.gw2'] })).map(({ seq }) => seq)).toEqual([2, 4]);
    });
  });
}

export interface AnchorsUnderTest {
  readonly anchors: AnchorStream;
  readonly stop?: () => Promise<void>;
}

/** What the stream of anchors means. */
export function anchorStreamContract(name: string, make: () => Promise<AnchorsUnderTest>): void {
  describe(`${name} is an AnchorStream`, () => {
    let under: AnchorsUnderTest;

    beforeEach(async () => {
      under = await make();
    });

    afterEach(() => under.stop?.());

    test('anchors stand in the order they were appended', async () => {
      const { anchors } = under;
      expect(await anchors.readAll()).toEqual([]);
      expect(await anchors.append('{"lastSeq":1}', 0)).toEqual({ seq: 1 });
      expect(await anchors.append('{"lastSeq":2}', 1)).toEqual({ seq: 2 });
      expect(await anchors.readAll()).toEqual([
        { seq: 1, json: '{"lastSeq":1}' },
        { seq: 2, json: '{"lastSeq":2}' },
      ]);
    });

    test('of two notaries that extend the same anchor one is refused', async () => {
      const { anchors } = under;
      await anchors.append('{"a":1}', 0);
      await expect(anchors.append('{"b":1}', 0)).rejects.toMatchObject({ code: 'ANCHORS_CONFLICT' });
      expect(await anchors.readAll()).toHaveLength(1);
    });
  });
}
