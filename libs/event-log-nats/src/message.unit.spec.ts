import { expect, test } from '@jest/globals';
import type { Msg } from '@nats-io/transport-node';
import { headers } from '@nats-io/transport-node';
import fc from 'fast-check';
import { commitHeaders, delivered, headersOf } from './message.ts';

const read = (reply: string | undefined): number[] => {
  const { seq, deliverySeq, storedAtMs, pending } = delivered({ reply, subject: 's', data: new Uint8Array() } as Msg);
  return [seq, deliverySeq, storedAtMs, pending];
};

test('the place of a message stands in its reply subject, in both forms', () => {
  const place = [7_000_000_123, 42, 1_790_000_000_123, 0];
  expect(read('$JS.ACK.LINTEL_EVENTS.gw_x.1.7000000123.42.1790000000123999999.0')).toEqual(place);
  expect(read('$JS.ACK.dom.acc.LINTEL_EVENTS.gw_x.1.7000000123.42.1790000000123999999.0')).toEqual(place);
  expect(read('$JS.ACK._.acc.LINTEL_EVENTS.gw_x.1.7000000123.42.1790000000123999999.0.rnd')).toEqual(place);
});

test('a reply of another form names no place, and so is taken for a lost consumer', () => {
  for (const reply of [undefined, '', 'x.y', '$JS.ACK.a.b.1.x.y.z.w', '$JS.ACK.a.b.1']) {
    expect(read(reply).slice(0, 2)).toEqual([Number.NaN, Number.NaN]);
  }
});

test('headers are read from the bytes as the client reads them', () => {
  const value = fc
    .string({ unit: 'binary' })
    .map((text) => text.toWellFormed().replace(/[\r\n]/g, ' '))
    .filter((text) => text.trim() !== '');
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...Object.values(commitHeaders)), value), value, (given, other) => {
      const written = headers();
      written.append('Other', other);
      for (const [name, text] of Object.entries(given)) written.append(name, text);
      const head = (written as unknown as { encode(): Uint8Array }).encode();
      const rdata = Buffer.concat([head, Buffer.from(`body\r\n${commitHeaders.hash}: no header`)]);
      const msg = { _rdata: rdata, _msg: { hdr: head.length } } as unknown as Msg;
      for (const name of Object.values(commitHeaders)) {
        expect(headersOf(msg)?.get(name) ?? '').toBe(written.get(name));
      }
    }),
  );
});

test('a message of another client version gives its own headers', () => {
  const own = headers();
  expect(headersOf({ headers: own } as Msg)).toBe(own);
});
