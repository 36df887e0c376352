import { expect, test } from '@jest/globals';
import type { FrameStream } from '#libs/event-log';
import { systemEnvironment } from '#libs/kernel';
import { Outbox } from './outbox.ts';

test('what is put in at any moment is published, also while the one before ends', async () => {
  for (let ticks = 0; ticks < 12; ticks++) {
    let published = 0;
    const to = { publish: async () => ({ seq: ++published, duplicate: false }) } as unknown as FrameStream;
    const outbox = new Outbox(to, 'lintel.kv.a', 'w', systemEnvironment, () => {}, 'w.1');
    outbox.put({ frame: { kind: 'claim', writer: 'w' } });
    for (let tick = 0; tick < ticks; tick++) await Promise.resolve();
    outbox.put({ frame: { kind: 'beat', writer: 'w', ranks: [] } });
    await new Promise((resolve) => setImmediate(resolve));
    expect([ticks, published]).toEqual([ticks, 2]);
  }
});
