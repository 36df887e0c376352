import { expect, test } from '@jest/globals';
import type { NatsLink } from './connection.ts';
import { NatsTelemetry } from './bus.ts';

test('telling a value never throws: what cannot go is dropped and counted', () => {
  const sent: string[] = [];
  let closed = false;
  const link = {
    connected: true,
    nc: {
      publish: (subject: string) => {
        if (closed) throw new Error('connection closed');
        sent.push(subject);
      },
    },
  };
  const telemetry = new NatsTelemetry(link as unknown as NatsLink);
  telemetry.publish('lintel.tm.a.x', new Uint8Array());
  closed = true;
  telemetry.publish('lintel.tm.b.x', new Uint8Array());
  link.connected = false;
  telemetry.publish('lintel.tm.c.x', new Uint8Array());
  expect([sent, telemetry.dropped]).toEqual([['lintel.tm.a.x'], 2]);
});
