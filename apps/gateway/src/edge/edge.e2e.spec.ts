import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import { systemClock, systemEnvironment } from '#libs/kernel';
import type { EdgeConfig } from '#libs/nest-kit';
import { eventually } from '#libs/testkit';
import { selfMadeCertificate } from '../certificate.fixture.ts';
import { afterwards, chat, closeAll, engine, errorOf, gateway, post, rawExchange } from '../serve/serve.fixture.ts';
import type { Edge } from './index.ts';
import { startEdge } from './index.ts';
import { keyGuardLimits } from './key-guard.ts';

const { Outcome } = route;
afterEach(closeAll);

const edgeOf = async (config: EdgeConfig): Promise<Edge> =>
  await startEdge({ config, environment: systemEnvironment, say: () => {}, idleMs: 10_000, requestMs: 10_000 });

/** Answers what it was sent, and the headers that came with it. */
const echo = (): Promise<string> =>
  engine((sent, response, request) => {
    const { 'content-encoding': encoding = 'none', 'content-length': length } = request.headers;
    response.writeHead(200, { 'x-encoding': encoding, 'x-length': length }).end(sent);
  });

const encoders: Record<string, (body: Buffer) => Buffer> = {
  gzip: gzipSync,
  deflate: deflateSync,
  br: brotliCompressSync,
  zstd: zstdCompressSync,
};

describe('compressed bodies', () => {
  test.each(Object.keys(encoders))('%s: read here, and sent on as they are meant', async (encoding) => {
    const lintel = await gateway([await echo()]);
    for (const size of [10, 500_000]) {
      // Not all of one letter: text, not a bomb.
      const body = chat({ pad: Array.from({ length: size / 10 }, (_, at) => (at * 7919).toString(36)).join(' ') });
      const sent = encoders[encoding]!(Buffer.from(body));
      const response = await post(lintel, new Uint8Array(sent), { 'content-encoding': encoding });
      expect([response.status, await response.text()]).toEqual([200, body]);
      expect(response.headers.get('x-encoding')).toBe('none');
      expect(Number(response.headers.get('x-length'))).toBe(Buffer.byteLength(body));
    }
    expect(lintel.records.map(({ model }) => model)).toEqual(['tiny', 'tiny']);
  });

  test('forms, too, whole', async () => {
    const lintel = await gateway([await echo()]);
    const form =
      '--B\r\nContent-Disposition: form-data; name="model"\r\n\r\ntiny\r\n--B\r\nContent-Disposition: form-data; name="file"\r\n\r\n' +
      `${'audio'.repeat(1000)}\r\n--B--\r\n`;
    const response = await post(
      lintel,
      new Uint8Array(gzipSync(form)),
      { 'content-encoding': 'gzip', 'content-type': 'multipart/form-data; boundary=B' },
      '/v1/audio/transcriptions',
    );
    expect([response.status, await response.text()]).toEqual([200, form]);
  });

  test.each(Object.keys(encoders))('%s: a bomb is given up as soon as it is seen to be one', async (encoding) => {
    const lintel = await gateway([await echo()]);
    const plain = Buffer.alloc(48 * 1024 * 1024, ' ');
    plain.write('{"model":"tiny","messages":[]');
    const bomb = encoders[encoding]!(plain);
    const before = process.memoryUsage().rss;
    const response = await post(lintel, new Uint8Array(bomb), { 'content-encoding': encoding });
    expect([response.status, (await errorOf(response)).code]).toEqual([413, 'body_expands_too_much']);
    expect(process.memoryUsage().rss - before).toBeLessThan(40 * 1024 * 1024);
    expect((await lintel.record()).outcome).toBe(Outcome.REJECTED_BAD_REQUEST);
    expect((lintel.plane as unknown as { heldBytes: number }).heldBytes).toBe(0);
  });

  test('one that is merely too large is that', async () => {
    const lintel = await gateway([await echo()], { limits: { bodyBytesMax: 1000 } });
    const response = await post(lintel, new Uint8Array(gzipSync(chat({ pad: 'x'.repeat(5000) }))), {
      'content-encoding': 'gzip',
    });
    expect([response.status, (await errorOf(response)).code]).toEqual([413, 'body_too_large']);
  });

  test.each([
    ['cut', gzipSync(chat()).subarray(0, 30), 'gzip', 400, 'invalid_content_encoding'],
    ['broken', Buffer.from('no gzip at all'), 'gzip', 400, 'invalid_content_encoding'],
    ['empty', Buffer.alloc(0), 'gzip', 400, 'invalid_content_encoding'],
    ['encoded twice', gzipSync(gzipSync(chat())), 'gzip, gzip', 415, 'unsupported_content_encoding'],
    ['of a way unknown', Buffer.from(chat()), 'compress', 415, 'unsupported_content_encoding'],
    ['of a property', Buffer.from(chat()), 'constructor', 415, 'unsupported_content_encoding'],
  ])('%s: refused in words', async (_name, body, encoding, status, code) => {
    const lintel = await gateway([await echo()]);
    const response = await post(lintel, new Uint8Array(body), { 'content-encoding': encoding });
    expect([response.status, (await errorOf(response)).code]).toEqual([status, code]);
    expect((await post(lintel, chat())).status).toBe(200);
  });

  test('two headers that say how are one too many', async () => {
    const lintel = await gateway([await echo()]);
    const body = gzipSync(chat()).toString('latin1');
    const text = await rawExchange(lintel.port, [
      `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-encoding: gzip\r\ncontent-encoding: identity\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    ]);
    expect(text).toMatch(/^HTTP\/1\.1 415 /);
  });

  test('a client that leaves in the middle leaves nothing', async () => {
    const lintel = await gateway([await echo()]);
    const socket = connect(lintel.port, '127.0.0.1');
    const body = gzipSync(Buffer.from(chat({ pad: Math.PI.toString().repeat(1000) })));
    socket.write(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-encoding: gzip\r\ncontent-length: ${body.length}\r\n\r\n`,
    );
    socket.write(body.subarray(0, body.length - 20));
    await eventually(() => expect(lintel.plane.inflight).toBe(1));
    socket.destroy();
    expect((await lintel.record()).outcome).toBe(Outcome.CLIENT_GONE);
    expect((lintel.plane as unknown as { heldBytes: number }).heldBytes).toBe(0);
  });
});

describe('browsers', () => {
  const cors = { origins: ['https://*.example.com'], exposeHeaders: ['x-own'], credentials: true, maxAgeS: 5 };

  test('ask first and are answered here; pages of other origins are not', async () => {
    let asked = 0;
    const origin = await engine((_sent, response) => {
      asked++;
      response.writeHead(200, { 'access-control-allow-origin': '*', 'x-own': '1' }).end('{}');
    });
    const lintel = await gateway([origin], { edge: await edgeOf({ cors }) });
    const question = (from: string): Promise<Response> =>
      fetch(`${lintel.url}/v1/chat/completions`, {
        method: 'OPTIONS',
        headers: {
          origin: from,
          'access-control-request-method': 'POST',
          'access-control-request-headers': 'authorization,x-own',
        },
      });
    const allowed = await question('https://app.example.com');
    expect([allowed.status, Object.fromEntries(allowed.headers)]).toMatchObject([
      204,
      {
        'access-control-allow-origin': 'https://app.example.com',
        'access-control-allow-credentials': 'true',
        'access-control-allow-headers': 'authorization,x-own',
        'access-control-allow-methods': expect.stringContaining('POST'),
        'access-control-max-age': '5',
      },
    ]);
    const refused = await question('https://evil.net');
    expect([refused.status, refused.headers.get('access-control-allow-origin')]).toEqual([403, null]);
    expect([asked, lintel.records.length]).toEqual([0, 0]);

    for (const [body, status] of [
      [chat(), 200],
      ['{', 400],
    ] as const) {
      const answer = await post(lintel, body, { origin: 'https://app.example.com' });
      expect([answer.status, answer.headers.get('access-control-allow-origin'), answer.headers.get('vary')]).toEqual([
        status,
        'https://app.example.com',
        'Origin',
      ]);
      expect(answer.headers.get('access-control-expose-headers')).toMatch(/x-lintel-request-id.*x-own/);
      await answer.text();
    }
    const other = await post(lintel, chat(), { origin: 'https://evil.net' });
    expect(other.headers.get('access-control-allow-origin')).toBeNull();
  });

  test('where nothing is said of them, OPTIONS is no method and the engine’s own word stands', async () => {
    const lintel = await gateway([
      await engine((_sent, response) => response.writeHead(200, { 'access-control-allow-origin': '*' }).end('{}')),
    ]);
    const headers = { origin: 'https://a.example.com', 'access-control-request-method': 'POST' };
    const question = await fetch(`${lintel.url}/v1/chat/completions`, { method: 'OPTIONS', headers });
    expect(question.status).toBe(405);
    expect((await post(lintel, chat(), headers)).headers.get('access-control-allow-origin')).toBe('*');
  });
});

describe('a proxy in front', () => {
  const line = 'PROXY TCP4 198.51.100.7 10.0.0.1 5 80\r\n';
  const get = 'GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n';
  const proxied = (networks: string[]): EdgeConfig => ({
    trustedProxies: { networks, header: 'none', proxyProtocol: true },
  });

  test('of a named network begins with the client’s address; nobody else may, and it must', async () => {
    const trusted = await gateway([await echo()], { edge: await edgeOf(proxied(['127.0.0.0/8'])) });
    expect(await rawExchange(trusted.port, [line.slice(0, 10), line.slice(10), get])).toMatch(/^HTTP\/1\.1 200 /);
    expect(await rawExchange(trusted.port, [get])).toBe('');
    const untrusted = await gateway([await echo()], { edge: await edgeOf(proxied(['10.0.0.0/8'])) });
    expect(await rawExchange(untrusted.port, [get])).toMatch(/^HTTP\/1\.1 200 /);
    expect(await rawExchange(untrusted.port, [line + get])).toMatch(/^HTTP\/1\.1 400 /);
  });

  test('over TLS, too', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'lintel-edge-'));
    afterwards(() => rm(folder, { recursive: true, force: true }));
    const made = selfMadeCertificate(new Date(systemClock.nowMs()));
    const [cert, key] = [join(folder, 'c'), join(folder, 'k')];
    await writeFile(cert, made.cert);
    await writeFile(key, made.key);
    const edge = await edgeOf({ ...proxied(['127.0.0.0/8']), tls: { cert, key, minVersion: '1.2' } });
    const lintel = await gateway([await echo()], { edge, open: false });
    for (let time = 0; time <= keyGuardLimits.failuresMax; time++) {
      const under = connect(lintel.port, '127.0.0.1');
      under.write(`PROXY TCP4 198.51.100.7 10.0.0.1 5 80\r\n`);
      const socket = connectTls({ socket: under, host: 'localhost', ca: made.cert });
      socket.write(`GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer wrong\r\nconnection: close\r\n\r\n`);
      let got = '';
      socket.on('data', (data) => (got += data.toString()));
      await new Promise((resolve) => socket.on('close', resolve));
      // The address that the proxy told is the one that is held back.
      expect(got).toMatch(time < keyGuardLimits.failuresMax ? /^HTTP\/1\.1 401 / : /^HTTP\/1\.1 429 /);
    }
  });
});

test.each([
  ['none', ''],
  ['network', '198.51.100.0/24'],
  ['whole', '198.51.100.7'],
] as const)('of a client’s address the record keeps: %s', async (clientAddress, kept) => {
  const trustedProxies = { networks: ['127.0.0.1'], header: 'x-forwarded-for' as const, proxyProtocol: false };
  const lintel = await gateway([await echo()], { edge: await edgeOf({ trustedProxies, clientAddress }) });
  await post(lintel, chat(), { 'x-forwarded-for': '198.51.100.7' });
  expect((await lintel.record()).clientAddress).toBe(kept);
});

test('who tries keys that nobody has is held back, by the address that a trusted proxy tells', async () => {
  const edge = await edgeOf({
    trustedProxies: { networks: ['127.0.0.1'], header: 'x-forwarded-for', proxyProtocol: false },
  });
  const lintel = await gateway([await echo()], { open: false, edge });
  const ask = (from: string): Promise<Response> =>
    post(lintel, chat(), { authorization: 'Bearer guess', 'x-forwarded-for': from });
  for (let time = 0; time < keyGuardLimits.failuresMax; time++) expect((await ask('198.51.100.7')).status).toBe(401);
  const held = await ask('198.51.100.7');
  expect([held.status, (await errorOf(held)).code]).toEqual([429, 'too_many_failed_keys']);
  expect(Number(held.headers.get('retry-after'))).toBeGreaterThan(0);
  expect((await ask('198.51.100.8')).status).toBe(401);
  expect(lintel.records.every(({ outcome }) => outcome === Outcome.REJECTED_AUTH)).toBe(true);
});
