import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { coarseAddress, networkOf, Networks, plainAddress } from './addresses.ts';
import { announce, ClientAddresses } from './client-address.ts';
import { Cors } from './cors.ts';
import { proxyHeader } from './first-bytes.ts';
import { KeyGuard, keyGuardLimits } from './key-guard.ts';

describe('networks', () => {
  const networks = new Networks(['10.0.0.0/8', 'fd00::/8', '192.0.2.7']);
  test.each([
    ['10.1.2.3', true],
    ['::ffff:10.1.2.3', true],
    ['11.1.2.3', false],
    ['fd12::1', true],
    ['fe80::1', false],
    ['192.0.2.7', true],
    ['192.0.2.8', false],
    ['', false],
    ['nonsense', false],
  ])('%s: %s', (address, inside) => expect(networks.has(address)).toBe(inside));

  test.each(['10.0.0.0/33', '10.0.0/8', 'x', '', '10.0.0.0/-1', 'fd00::/129'])('%s is none', (cidr) =>
    expect(() => new Networks([cidr])).toThrow(/is no network/),
  );

  test.each([
    ['192.0.2.7', '192.0.2.7', '192.0.2.0/24'],
    ['::ffff:192.0.2.7', '192.0.2.7', '192.0.2.0/24'],
    ['2001:db8::1', '2001:db8:0:0::/64', '2001:db8:0::/48'],
    ['2001:0DB8:1:2:3:4:5:6', '2001:db8:1:2::/64', '2001:db8:1::/48'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64', 'fe80:0:0::/48'],
  ])('%s is of %s, coarsely %s', (address, network, coarse) => {
    expect([networkOf(address), coarseAddress(address)]).toEqual([network, coarse]);
  });

  test('any text has a name and is told coarsely without a throw', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.ipV6(), fc.ipV4()), (text) => {
        expect(networkOf(text).length).toBeLessThan(text.length + 40);
        expect(coarseAddress(text)).not.toBe(plainAddress(text) === '' ? undefined : `${text}x`);
      }),
    );
  });
});

describe('the client behind proxies', () => {
  const networks = new Networks(['10.0.0.0/8']);
  const of = (header: 'x-forwarded-for' | 'forwarded', value: string | undefined, remoteAddress = '10.0.0.1'): string =>
    new ClientAddresses(networks, header).of({ headers: { [header]: value }, socket: { remoteAddress } });

  test.each([
    [undefined, '10.0.0.1'],
    ['198.51.100.7', '198.51.100.7'],
    // What the client itself wrote stands to the left, and is not believed.
    ['1.2.3.4, 198.51.100.7', '198.51.100.7'],
    ['1.2.3.4, 198.51.100.7, 10.9.9.9', '198.51.100.7'],
    ['198.51.100.7:5555', '198.51.100.7'],
    ['[2001:db8::1]:5555', '2001:db8::1'],
    ['nonsense', '10.0.0.1'],
    ['198.51.100.7, nonsense', '10.0.0.1'],
    ['10.1.1.1', '10.1.1.1'],
    [`${'9.9.9.9,'.repeat(500)}198.51.100.7`, '198.51.100.7'],
  ])('x-forwarded-for %.40s', (value, address) => expect(of('x-forwarded-for', value)).toBe(address));

  test.each([
    ['for=198.51.100.7;proto=https', '198.51.100.7'],
    ['proto=https; for="[2001:db8::1]:47"', '2001:db8::1'],
    ['for=1.2.3.4, For=198.51.100.7', '198.51.100.7'],
    ['for=unknown', '10.0.0.1'],
  ])('forwarded %s', (value, address) => expect(of('forwarded', value)).toBe(address));

  test('who is no trusted proxy is the client, whatever it says', () => {
    expect(of('x-forwarded-for', '198.51.100.7', '203.0.113.5')).toBe('203.0.113.5');
    const nobody = new ClientAddresses().of({
      headers: { 'x-forwarded-for': '1.1.1.1' },
      socket: { remoteAddress: '2.2.2.2' },
    });
    expect(nobody).toBe('2.2.2.2');
  });

  test('what the PROXY protocol said is the address of the connection', () => {
    const socket = { remoteAddress: '10.0.0.1' };
    announce(socket, '198.51.100.7');
    expect(new ClientAddresses(networks, 'x-forwarded-for').of({ headers: {}, socket })).toBe('198.51.100.7');
  });
});

describe('PROXY protocol', () => {
  const v2 = (command: number, family: number, address: Buffer, length = address.length): Buffer =>
    Buffer.concat([
      Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1'),
      Buffer.from([0x20 | command, family, length >> 8, length & 255]),
      address,
    ]);
  const four = Buffer.from([198, 51, 100, 7, 10, 0, 0, 1, 1, 2, 3, 4]);
  const six = Buffer.concat([
    Buffer.from('20010db8000000000000000000000001', 'hex'),
    Buffer.alloc(16),
    Buffer.alloc(4),
  ]);

  test.each([
    ['version 1', Buffer.from('PROXY TCP4 198.51.100.7 10.0.0.1 5 80\r\nGET'), '198.51.100.7'],
    ['version 1, IPv6', Buffer.from('PROXY TCP6 2001:db8::1 ::1 5 80\r\n'), '2001:db8::1'],
    ['version 1, unknown', Buffer.from('PROXY UNKNOWN\r\nGET'), undefined],
    ['version 2', v2(1, 0x11, four), '198.51.100.7'],
    ['version 2, IPv6', v2(1, 0x21, six), '2001:db8:0:0:0:0:0:1'],
    ['version 2, itself', v2(0, 0, Buffer.alloc(0)), undefined],
    ['version 2 with more', v2(1, 0x11, Buffer.concat([four, Buffer.alloc(40)])), '198.51.100.7'],
  ])('%s, also byte by byte', (_name, bytes, address) => {
    expect(proxyHeader(bytes)?.address).toBe(address);
    const { bytes: length } = proxyHeader(bytes) as { bytes: number };
    for (let end = 0; end < length; end++) expect(proxyHeader(bytes.subarray(0, end))).toBeUndefined();
  });

  test.each([
    'GET / HTTP/1.1\r\n',
    'PROXY TCP4 nonsense x 1 2\r\n',
    'PROXY TCP4 2001:db8::1 ::1 1 2\r\n',
    'PROXY TCP9 198.51.100.7 x 1 2\r\n',
    `PROXY TCP4 ${'1'.repeat(200)}`,
    '\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c............',
    '\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff',
    '\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x02..',
  ])('%j is none', (text) => expect(() => proxyHeader(Buffer.from(text, 'latin1'))).toThrow(RangeError));

  test('any bytes are a header, the start of one, or refused', () => {
    const starts = ['PROXY TCP4 ', 'PROXY ', '\r\n\r\n\0\r\nQUIT\n', ''].map((text) => Buffer.from(text, 'latin1'));
    fc.assert(
      fc.property(fc.constantFrom(...starts), fc.uint8Array({ maxLength: 700 }), (start, rest) => {
        try {
          const found = proxyHeader(Buffer.concat([start, rest]));
          if (found === undefined) expect(start.length + rest.length).toBeLessThan(600);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(RangeError);
        }
      }),
    );
  });
});

describe('origins', () => {
  const cors = new Cors({ origins: ['https://app.example.com', 'https://*.example.org', 'http://localhost:3000'] });
  test.each([
    ['https://app.example.com', true],
    ['http://app.example.com', false],
    ['https://app.example.com.evil.net', false],
    ['https://a.example.org', true],
    ['https://a.b.example.org', true],
    ['https://example.org', false],
    ['https://.example.org', false],
    ['https://evil.net/.example.org', false],
    ['https://evil.net#.example.org', false],
    ['https://evilexample.org', false],
    ['http://localhost:3000', true],
    ['http://localhost:3001', false],
    ['null', false],
    ['', false],
  ])('%s: %s', (origin, allowed) => expect(cors.allows(origin)).toBe(allowed));
});

describe('keys that nobody has', () => {
  const { failuresMax, refillMs, addressesMax, goodKeysMax } = keyGuardLimits;
  const fail = (guard: KeyGuard, address: string, times: number, atMs = 0): void => {
    for (let time = 0; time < times; time++) guard.failed(address, atMs);
  };

  test('hold their address back after some, and again and again', () => {
    const guard = new KeyGuard();
    expect(guard.idle).toBe(true);
    fail(guard, '192.0.2.1', failuresMax - 1);
    expect(guard.waitS('192.0.2.1', 'k', 0)).toBe(0);
    fail(guard, '192.0.2.1', 1);
    expect(guard.waitS('192.0.2.1', 'k', 0)).toBe(refillMs / 1000);
    expect(guard.waitS('192.0.2.2', 'k', 0)).toBe(0);
    expect(guard.waitS('192.0.2.1', 'k', refillMs)).toBe(0);
    fail(guard, '192.0.2.1', 1, refillMs);
    expect(guard.waitS('192.0.2.1', 'k', refillMs)).toBeGreaterThan(0);
  });

  test('one subscriber of IPv6 is one address', () => {
    const guard = new KeyGuard();
    for (let at = 0; at < failuresMax; at++) guard.failed(`2001:db8::${at.toString(16)}`, 0);
    expect(guard.waitS('2001:db8::ffff', 'k', 0)).toBeGreaterThan(0);
    expect(guard.waitS('2001:db8:0:1::1', 'k', 0)).toBe(0);
  });

  test('keys that were good from there go on, a bounded number of them', () => {
    const guard = new KeyGuard();
    fail(guard, '192.0.2.1', 1);
    for (let at = 0; at < goodKeysMax + 5; at++) guard.succeeded('192.0.2.1', `good${at}`);
    fail(guard, '192.0.2.1', failuresMax);
    expect(guard.waitS('192.0.2.1', 'good0', 0)).toBe(0);
    expect(guard.waitS('192.0.2.1', `good${goodKeysMax}`, 0)).toBeGreaterThan(0);
    expect(guard.waitS('192.0.2.1', 'other', 0)).toBeGreaterThan(0);
  });

  test('are remembered of so many addresses, and forgotten in time', () => {
    const guard = new KeyGuard();
    for (let at = 0; at < addressesMax + 100; at++) guard.failed(`10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`, 0);
    expect(guard.addresses).toBe(addressesMax);
    guard.sweep(refillMs * failuresMax);
    expect(guard.idle).toBe(true);
  });

  test('never let through more than the bound says, whatever the order', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(20_000), { maxLength: 200 }), (gaps) => {
        const guard = new KeyGuard();
        let atMs = 0;
        let tried = 0;
        for (const gap of gaps) {
          atMs += gap;
          if (guard.waitS('192.0.2.1', 'k', atMs) > 0) continue;
          guard.failed('192.0.2.1', atMs);
          tried++;
        }
        expect(tried).toBeLessThanOrEqual(failuresMax + atMs / refillMs + 1);
      }),
    );
  });
});
