import type { AddressInfo, Socket } from 'node:net';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import { afterEach, describe, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import { eventually } from '#libs/testkit';
import { selfMadeCertificate } from '../../certificate.fixture.ts';
import { afterwards, chat, closeAll, engine, gateway, rawExchange, sse, token } from '../serve.fixture.ts';
import { ClientResponse } from './client-response.ts';
import { RequestHead } from './request-head.ts';
import type { Upgrades } from './front.ts';

const { Outcome } = route;

afterEach(closeAll);

const body = chat();
const ask = (more = '', sent = body): string =>
  `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: ${sent.length}\r\n${more}\r\n${sent}`;
const echo = (): Promise<string> =>
  engine((sent, response) => response.writeHead(200, { 'content-length': sent.length }).end(sent));
const statuses = (text: string): number[] =>
  [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status));

/** What comes over one connection until it closes, as text that grows. */
function talk(socket: Duplex): { readonly text: () => string; readonly closed: Promise<void> } {
  let text = '';
  socket.on('data', (data: Buffer) => (text += data.toString('latin1')));
  socket.on('error', () => {});
  afterwards(() => void socket.destroy());
  return { text: () => text, closed: new Promise((resolve) => socket.on('close', () => resolve())) };
}

const open = (port: number): Socket => connect({ port, host: '127.0.0.1' });

describe('a connection', () => {
  test('carries requests for the framework and for engines in any order', async () => {
    const lintel = await gateway([await echo()]);
    const other = 'GET /health HTTP/1.1\r\nhost: x\r\n\r\n';
    const last = 'GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n';
    const text = await rawExchange(lintel.port, [ask() + other + ask() + last], 10_000);
    expect(statuses(text)).toEqual([200, 404, 200, 404]);
    expect(text.split('framework').length).toBe(3);
    expect(lintel.records.map(({ outcome }) => outcome)).toEqual([Outcome.COMPLETED, Outcome.COMPLETED]);
    // In pieces, the second one behind its answer.
    const socket = open(lintel.port);
    const { text: got } = talk(socket);
    for (const [index, piece] of [other, ask(), other].entries()) {
      socket.write(piece.slice(0, 7));
      socket.write(piece.slice(7));
      await eventually(() => expect(statuses(got())).toHaveLength(index + 1));
    }
    expect(statuses(got())).toEqual([404, 200, 404]);
  });

  test('that was handed over is held to the same time', async () => {
    const lintel = await gateway([await echo()], {
      limits: { clientHeadersTimeoutMs: 300, clientRequestTimeoutMs: 400 },
    });
    const socket = open(lintel.port);
    const { text, closed } = talk(socket);
    socket.write('GET /health HTTP/1.1\r\nhost: x\r\n\r\nGET /health HTTP/1.1\r\n');
    await closed;
    expect(statuses(text())).toEqual([404, 408]);
  });

  test('may be any stream: TLS', async () => {
    const lintel = await gateway([await echo()]);
    const made = selfMadeCertificate(new Date());
    const server = createTlsServer({ ...made, ALPNProtocols: ['http/1.1'] }, (socket) =>
      lintel.plane.front.accept(socket),
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    afterwards(() => new Promise((resolve) => server.close(() => resolve())));
    const socket = connectTls({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', ca: made.cert });
    const { text } = talk(socket);
    const large = chat({ pad: 'y'.repeat(300_000) });
    socket.write(ask() + ask('', large));
    await eventually(() => expect(text().endsWith(large)).toBe(true));
    expect(statuses(text())).toEqual([200, 200]);
    expect(lintel.plane.front.connections).toBe(1);
    socket.destroy();
    await eventually(() => expect(lintel.plane.front.connections).toBe(0));
  });

  test('leaves HTTP where somebody takes it', async () => {
    const taken: string[] = [];
    const upgrades: Upgrades = {
      accepts: ({ url }) => url === '/v1/realtime',
      take: ({ headers }, socket, head) => {
        taken.push(String(headers['upgrade']), head.toString());
        socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: test\r\nconnection: upgrade\r\n\r\n');
        socket.on('data', (data: Buffer) => socket.write(`<${data.toString()}>`));
        socket.on('end', () => socket.end('bye'));
      },
    };
    const lintel = await gateway([await echo()], { upgrades });
    const socket = open(lintel.port);
    const { text, closed } = talk(socket);
    const asks = 'upgrade: test\r\nconnection: keep-alive, Upgrade\r\n\r\n';
    socket.write(`GET /v1/nope HTTP/1.1\r\nhost: x\r\n${asks}`);
    await eventually(() => expect(statuses(text())).toEqual([404]));
    socket.write(`GET /v1/realtime HTTP/1.1\r\nhost: x\r\n${asks}early`);
    await eventually(() => expect(text()).toContain('101 Switching'));
    socket.write('hello');
    await eventually(() => expect(text()).toContain('<hello>'));
    socket.end();
    await closed;
    expect([taken, text().endsWith('bye'), lintel.plane.front.connections]).toEqual([['test', 'early'], true, 0]);
  });

  test('is read no further than so many requests ahead, and each is answered in its turn', async () => {
    let most = 0;
    const held: (() => void)[] = [];
    const origin = await engine((sent, response) => {
      held.push(() => void response.writeHead(200, { 'content-length': sent.length }).end(sent));
      most = Math.max(most, held.length);
    });
    const lintel = await gateway([origin], { limits: { clientPipelinedMax: 3 } });
    const socket = open(lintel.port);
    const { text } = talk(socket);
    const bodies = Array.from({ length: 8 }, (_, index) => chat({ index }));
    socket.write(bodies.map((each) => ask('', each)).join(''));
    await eventually(() => expect(held).toHaveLength(3));
    await eventually(() => {
      for (const answer of held.splice(0).toReversed()) answer();
      expect(statuses(text())).toHaveLength(bodies.length);
    });
    expect(text().match(/"index":\d/g)).toEqual(bodies.map((_, index) => `"index":${index}`));
    expect(most).toBeLessThanOrEqual(3);
  });

  test('nobody speaks on ends; one between two requests, too', async () => {
    const lintel = await gateway([await echo()], { limits: { clientHeadersTimeoutMs: 80, clientKeepAliveMs: 120 } });
    const mute = talk(open(lintel.port));
    const socket = open(lintel.port);
    const idle = talk(socket);
    socket.write(ask());
    await Promise.all([mute.closed, idle.closed]);
    expect([mute.text(), statuses(idle.text())]).toEqual(['', [200]]);
  });

  test('of HTTP/1.0 gets an answer that ends with it, unless it asks for more', async () => {
    const lintel = await gateway([
      await engine((_sent, response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write(sse(token('a')));
        response.end(sse('[DONE]'));
      }),
    ]);
    const old = ask().replace('HTTP/1.1', 'HTTP/1.0');
    const streamed = await rawExchange(lintel.port, [old + old], 4_000);
    expect(streamed).not.toMatch(/transfer-encoding/);
    expect(streamed.slice(streamed.indexOf('\r\n\r\n') + 4)).toBe(sse(token('a'), '[DONE]'));
    const sized = await gateway([await echo()]);
    const kept = old.replace('\r\n\r\n', '\r\nconnection: keep-alive\r\n\r\n');
    expect(statuses(await rawExchange(sized.port, [kept + old], 4_000))).toEqual([200, 200]);
  });

  test('says "continue" to a body that is wanted, and ends where it is not', async () => {
    const lintel = await gateway([await echo()], { limits: { bodyBytesMax: 1000 } });
    const head = (length: number): string =>
      `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: ${length}\r\n\r\n`;
    const socket = open(lintel.port);
    const { text } = talk(socket);
    socket.write(head(body.length));
    await eventually(() => expect(text()).toBe('HTTP/1.1 100 Continue\r\n\r\n'));
    socket.write(body);
    await eventually(() => expect(statuses(text())).toEqual([100, 200]));
    const refused = await rawExchange(lintel.port, [head(5000)], 4_000);
    expect([statuses(refused), refused.includes('connection: close')]).toEqual([[413], true]);
    const other = await rawExchange(lintel.port, [ask('expect: tea\r\n')], 4_000);
    expect(statuses(other)).toEqual([417]);
  });

  test('lets a client that still sends read why it was refused', async () => {
    const lintel = await gateway([await echo()], { limits: { bodyBytesMax: 1000, clientLingerMs: 2_000 } });
    const socket = open(lintel.port);
    const { text, closed } = talk(socket);
    socket.write(ask('', 'x'.repeat(3_000_000)));
    await closed;
    expect([statuses(text()), text()]).toEqual([[413], expect.stringContaining('body_too_large')]);
  });

  test('whose client ends its side has been left', async () => {
    let gone = 0;
    const lintel = await gateway([
      await engine((_sent, _response, request) => void request.socket.on('close', () => gone++)),
    ]);
    const socket = open(lintel.port);
    talk(socket);
    socket.write(ask());
    await eventually(() => expect(lintel.fleet.replicas[0]?.inflight).toBe(1));
    socket.end();
    expect((await lintel.record()).outcome).toBe(Outcome.CLIENT_GONE);
    await eventually(() => expect(gone).toBe(1));
  });

  test('that is draining ends after its answer', async () => {
    const lintel = await gateway([await echo()]);
    const socket = open(lintel.port);
    const { text, closed } = talk(socket);
    const idle = talk(open(lintel.port));
    socket.write(ask());
    await eventually(() => expect(statuses(text())).toEqual([200]));
    await lintel.plane.drain(1_000);
    await Promise.all([closed, idle.closed]);
  });
});

test.each([
  ['a line end', 'x', 'a\r\nset-cookie: b'],
  ['a letter whose last byte is one', 'x', 'a\u010db'],
  ['a name with a blank', 'x y', 'a'],
  ['no name', '', 'a'],
])('a response is not written with %s in a header', (_name, name, value) => {
  const written: unknown[] = [];
  const owner = {
    socket: { write: (data: unknown) => written.push(data) } as unknown as Duplex,
    dateLine: '',
    direct: false,
    keepAliveLines: '',
    isLast: () => false,
    closesAfter: () => {},
    ended: () => {},
  };
  const response = new ClientResponse(owner, new RequestHead(), true);
  expect(() => response.writeHead(200, [name, value])).toThrow(/cannot be sent/);
  expect([response.headersSent, written]).toEqual([false, []]);
});
