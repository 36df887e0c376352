import { connect } from 'node:http2';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Agent, fetch as undiciFetch } from 'undici';
import { EventRegistry } from '#libs/contracts';
import { memoryBroker } from '#libs/event-log';
import { CodedError, systemClock, systemEnvironment } from '#libs/kernel';
import { parseConfig } from '#libs/nest-kit';
import { createLogger } from '#libs/observability';
import { selfMadeCertificate } from '../certificate.fixture.ts';
import type { RunningGateway } from '../gateway.ts';
import { startGateway } from '../gateway.ts';
import { sharedEdge } from './cache-salt.ts';
import { edgeOf } from '../process/edge-options.ts';
import { parseOptions } from '../process/options.ts';
import { waitingServer } from '../process/waiting-server.ts';

const made = selfMadeCertificate(new Date(systemClock.nowMs()));
let home: string;
const [cert, key] = ['tls.crt', 'tls.key'];
const file = (name: string): string => join(home, name);

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'lintel-edge-'));
  await writeFile(file(cert), made.cert);
  await writeFile(file(key), made.key);
});
afterAll(async () => await rm(home, { recursive: true, force: true }));

describe('a whole gateway behind TLS', () => {
  let gateway: RunningGateway;
  const agents = {
    'HTTP/1': new Agent({ connect: { ca: made.cert } }),
    'HTTP/2': new Agent({ allowH2: true, connect: { ca: made.cert } }),
  };

  beforeAll(async () => {
    gateway = await startGateway({
      host: '127.0.0.1',
      port: 0,
      instance: 'g1',
      home,
      broker: memoryBroker(systemEnvironment, new EventRegistry()),
      open: true,
      logger: createLogger({ name: 'gateway', level: 'silent' }),
      edge: edgeOf(parseOptions(['--tls-cert', file(cert), '--tls-key', file(key)]).edge, undefined),
    });
  });
  afterAll(async () => {
    for (const agent of Object.values(agents)) await agent.destroy();
    await gateway.stop();
  });

  test.each(Object.entries(agents))('answers over %s: health, metrics, models', async (_name, dispatcher) => {
    expect(gateway.url).toMatch(/^https:/);
    const get = async (path: string): Promise<{ status: number; text: string }> => {
      const answer = await undiciFetch(gateway.url + path, { dispatcher });
      return { status: answer.status, text: await answer.text() };
    };
    expect((await get('/health')).status).toBe(200);
    expect((await get('/v1/models')).status).toBe(200);
    expect((await get('/nowhere')).status).toBe(404);
    const { text } = await get('/metrics');
    const expires = Number(/^lintel_gateway_tls_certificate_expires_seconds\S* (\S+)$/m.exec(text)?.[1]);
    expect(expires - systemClock.nowMs() / 1000).toBeGreaterThan(3600);
    expect(text).toMatch(/lintel_gateway_tls_handshakes_total\{result="done".*\} [1-9]/);
  });

  test('stops in time though HTTP/2 connections are open', async () => {
    const session = connect(gateway.url, { ca: made.cert });
    session.on('error', () => {});
    await new Promise((resolve) => session.once('connect', resolve));
    const closed = new Promise((resolve) => session.on('close', resolve));
    await gateway.stop();
    await closed;
  });
});

test('while the broker is away probes are answered over TLS', async () => {
  const edge = edgeOf(parseOptions(['--tls-cert', file(cert), '--tls-key', file(key)]).edge, undefined);
  const port = 20_000 + (systemEnvironment.rng.uint32() % 20_000);
  const waiting = await waitingServer({ host: '127.0.0.1', port, edge }, systemEnvironment, () => 'it sleeps');
  const dispatcher = new Agent({ connect: { ca: made.cert } });
  const answer = await undiciFetch(`https://127.0.0.1:${port}/ready`, { dispatcher });
  expect([answer.status, await answer.text()]).toEqual([503, expect.stringContaining('it sleeps')]);
  await dispatcher.destroy();
  await waiting.close();
});

describe('flags, environment and file', () => {
  const flags = (...argv: string[]) => parseOptions(argv).edge;
  test('flags stand over the file, the rest of the file stays', () => {
    const yaml = `tls: { cert: a.pem, key: b.pem, minVersion: "1.3" }
cors: { origins: ["https://*.example.com"] }
trustedProxies: { networks: ["10.0.0.0/8"], proxyProtocol: true }
`;
    const read = edgeOf(
      flags('--tls-cert', 'c.pem', '--trusted-proxies', '192.0.2.0/24, fd00::/8', '--no-http2'),
      parseConfig(yaml, 'f'),
    );
    expect(read).toMatchObject({
      tls: { cert: 'c.pem', key: 'b.pem', minVersion: '1.3' },
      http2: { tls: false, cleartext: false },
      cors: { origins: ['https://*.example.com'], maxAgeS: 600 },
      trustedProxies: { networks: ['192.0.2.0/24', 'fd00::/8'], proxyProtocol: true, header: 'x-forwarded-for' },
    });
  });

  test('a worker has what its parent has, and nothing else', () => {
    const given = sharedEdge({ cors: { origins: ['*'], exposeHeaders: [], credentials: false, maxAgeS: 1 } }, '/home');
    expect(given.cacheSaltSecret).toBe('file:/home/cache-salt-secret');
    expect(sharedEdge({ cacheSaltSecret: 'env:A' }, '/home').cacheSaltSecret).toBe('env:A');
    const read = edgeOf(
      flags(`--edge=${JSON.stringify(given)}`, '--tls-cert', 'c'),
      parseConfig('tls: { cert: a, key: b }', 'f'),
    );
    expect(read).toEqual(given);
  });

  test('half of TLS is none', () => {
    for (const half of [
      ['--tls-cert', 'c'],
      ['--tls-key', 'k'],
      ['--tls-client-ca', 'a'],
    ]) {
      expect(() => edgeOf(flags(...half), undefined)).toThrow(CodedError);
    }
  });

  test.each([
    'cors: { origins: [] }',
    'cors: { origins: ["https://a.b/"] }',
    'cors: { origins: ["*"], credentials: true }',
    'tls: { cert: a }',
    'trustedProxies: { networks: [] }',
    'http2: { tsl: true }',
  ])('%s is refused', (yaml) => expect(() => parseConfig(yaml, 'f')).toThrow(/f:\d+/));
});
