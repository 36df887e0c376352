import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Requester, Responder, Telemetry } from '#libs/event-log';
import { CodedError } from '#libs/kernel';
import { eventually } from '../eventually.ts';

export interface BusUnderTest {
  readonly requester: Requester;
  readonly responder: Responder;
  readonly telemetry: Telemetry;
  readonly stop?: () => Promise<void>;
}

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));
const text = (data: Uint8Array): string => Buffer.from(data).toString();

/** What request/reply and telemetry mean. */
export function busContract(name: string, make: () => Promise<BusUnderTest>): void {
  describe(`${name} is a bus`, () => {
    let bus: BusUnderTest;

    beforeEach(async () => {
      bus = await make();
    });

    afterEach(() => bus.stop?.());

    const query = 'lintel.q.route.ListReplicas';

    test('a request is answered, with headers both ways', async () => {
      const stop = await bus.responder.respond(query, 'gateway', async (data, context) => ({
        bytes: bytes(`${text(data)}, ${context.headers['traceparent']}`),
        headers: { 'lintel-min-seq': '7' },
      }));
      const answer = await bus.requester.request(query, bytes('hello'), {
        deadlineMs: 2_000,
        headers: { traceparent: '00-ab' },
      });
      expect(text(answer.bytes)).toBe('hello, 00-ab');
      expect(answer.headers).toMatchObject({ 'lintel-min-seq': '7' });
      await stop();
    });

    test('nobody there is said at once', async () => {
      await expect(bus.requester.request(query, bytes(''), { deadlineMs: 5_000 })).rejects.toMatchObject({
        code: 'BUS_NO_RESPONDER',
      });
    });

    test('a coded error crosses with code, message and advice; another becomes INTERNAL', async () => {
      const stop = await bus.responder.respond(query, 'gateway', async (data) => {
        if (text(data) === 'plain') throw new Error('boom');
        throw new CodedError('REPLICA_UNKNOWN', 'no replica „x“', { advice: 'See lintel get replicas.' });
      });
      await expect(bus.requester.request(query, bytes(''), { deadlineMs: 2_000 })).rejects.toMatchObject({
        code: 'REPLICA_UNKNOWN',
        message: 'no replica „x“',
        advice: 'See lintel get replicas.',
      });
      await expect(bus.requester.request(query, bytes('plain'), { deadlineMs: 2_000 })).rejects.toMatchObject({
        code: 'INTERNAL',
        message: 'boom',
      });
      await stop();
    });

    test('a responder that is too slow is BUS_DEADLINE', async () => {
      const stop = await bus.responder.respond(query, 'gateway', async () => {
        await new Promise((resolve) => setTimeout(resolve, 300));
        return bytes('late');
      });
      await expect(bus.requester.request(query, bytes(''), { deadlineMs: 50 })).rejects.toMatchObject({
        code: 'BUS_DEADLINE',
      });
      await stop();
    });

    test('members of a queue share the requests', async () => {
      const counts = [0, 0];
      const stops = await Promise.all(
        counts.map((_, member) =>
          bus.responder.respond(query, 'gateway', async () => {
            counts[member] = (counts[member] as number) + 1;
            return bytes('ok');
          }),
        ),
      );
      for (let n = 0; n < 40; n++) await bus.requester.request(query, bytes(''), { deadlineMs: 2_000 });
      expect((counts[0] as number) + (counts[1] as number)).toBe(40);
      expect(Math.min(...counts)).toBeGreaterThan(0);
      await Promise.all(stops.map((stop) => stop()));
    });

    test('telemetry reaches who listens, by pattern, and stops', async () => {
      const seen: string[] = [];
      const stop = await bus.telemetry.subscribe(
        'lintel.tm.*.load',
        (subject, data) => void seen.push(`${subject}=${text(data)}`),
      );
      bus.telemetry.publish('lintel.tm.r1.load', bytes('1'));
      bus.telemetry.publish('lintel.tm.r1.health', bytes('2'));
      bus.telemetry.publish('lintel.tm.r2.load', bytes('3'));
      await eventually(() => expect(seen).toEqual(['lintel.tm.r1.load=1', 'lintel.tm.r2.load=3']));
      await stop();
      bus.telemetry.publish('lintel.tm.r1.load', bytes('4'));
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(seen).toHaveLength(2);
    });
  });
}
