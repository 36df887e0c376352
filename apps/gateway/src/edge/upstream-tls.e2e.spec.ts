import { X509Certificate } from 'node:crypto';
import { createServer } from 'node:https';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { create } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import { systemClock, systemTimers } from '#libs/kernel';
import { desiredOf, parseConfig } from '#libs/nest-kit';
import { eventually } from '#libs/testkit';
import { selfMadeCertificate } from '../certificate.fixture.ts';
import { createProbe } from '../fleet/probe.ts';
import { afterwards, chat, closeAll, gateway, post } from '../serve/serve.fixture.ts';
import type { TestGateway } from '../serve/serve.fixture.ts';
import { UpstreamTls } from './upstream-tls.ts';

const now = new Date(systemClock.nowMs());
const [engine, first, second] = [selfMadeCertificate(now), selfMadeCertificate(now), selfMadeCertificate(now)];
const printOf = ({ cert }: { cert: string }): string => new X509Certificate(cert).fingerprint256;
let folder: string;
const lines: string[] = [];
const file = (name: string): string => join(folder, name);

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lintel-upstream-'));
  lines.length = 0;
});
afterEach(async () => {
  await closeAll();
  await rm(folder, { recursive: true, force: true });
});

/** An engine that asks for a certificate, and answers with the print of the one that it got. */
async function strict(): Promise<number> {
  const server = createServer(
    // All test certificates have one name, so that OpenSSL would try only the first of two authorities.
    { ...engine, requestCert: true, rejectUnauthorized: false },
    (request, response) => {
      request.resume().on('end', () => {
        response.setHeader('connection', 'close');
        response.end((request.socket as TLSSocket).getPeerCertificate().fingerprint256);
      });
    },
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  afterwards(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

async function upstream(caFile?: string): Promise<UpstreamTls> {
  const made = await UpstreamTls.start({ timers: systemTimers, say: (line) => void lines.push(line), caFile });
  afterwards(() => made.stop());
  return made;
}

async function save(name: string, { cert, key }: { cert: string; key: string }): Promise<void> {
  await writeFile(file(`${name}.crt`), cert);
  await writeFile(file(`${name}.key`), key);
}

const tlsOf = (more: object = {}): route.ReplicaTls =>
  create(route.ReplicaTlsSchema, { ca: file('ca.pem'), cert: file('own.crt'), key: file('own.key'), ...more });

async function behind(port: number, tls: route.ReplicaTls, made: UpstreamTls): Promise<TestGateway> {
  const lintel = await gateway([`https://127.0.0.1:${port}`]);
  Object.assign(lintel.fleet.replicas[0]!, { trust: made.of(tls) });
  return lintel;
}

test('an engine that wants a certificate gets the gateway’s, and the next one once its files are whole', async () => {
  await writeFile(file('ca.pem'), engine.cert);
  await save('own', first);
  const made = await upstream();
  const port = await strict();
  const lintel = await behind(port, tlsOf(), made);
  const shown = async (): Promise<string> => await (await post(lintel, chat())).text();
  expect(await shown()).toBe(printOf(first));
  const trust = made.of(tlsOf());
  const { probe, close } = createProbe(systemTimers, () => trust);
  afterwards(close);
  expect((await probe(`https://127.0.0.1:${port}`, '/health', undefined, 1000)).text).toBe(printOf(first));

  await writeFile(file('own.crt'), second.cert);
  await eventually(() => expect(lines.join()).toMatch(/the key file does not fit/), 6000);
  expect(await shown()).toBe(printOf(first));
  await writeFile(file('own.key'), second.key);
  await eventually(async () => expect(await shown()).toBe(printOf(second)), 6000);
});

test('without its files nobody is trusted, which is told; they may come later', async () => {
  const made = await upstream();
  const lintel = await behind(await strict(), tlsOf(), made);
  expect((await post(lintel, chat())).status).toBe(502);
  expect(lines.join()).toMatch(/refused.*ca\.pem/);
  await writeFile(file('ca.pem'), engine.cert);
  await save('own', first);
  await eventually(async () => expect((await post(lintel, chat())).status).toBe(200), 8000);
});

test('a name that the certificate lacks is not spoken to', async () => {
  await writeFile(file('ca.pem'), engine.cert);
  await save('own', first);
  const made = await upstream();
  const port = await strict();
  const right = await behind(port, tlsOf({ serverName: 'localhost' }), made);
  expect((await post(right, chat())).status).toBe(200);
  const wrong = await behind(port, tlsOf({ serverName: 'other.example' }), made);
  expect((await post(wrong, chat())).status).toBe(502);
  expect((await wrong.record()).attempts[0]!.error).toMatch(/other\.example/);
});

test('the shared authorities must be some at the start; what no replica uses is looked at no longer', async () => {
  await expect(upstream('/nowhere')).rejects.toMatchObject({ code: 'FILE_UNREADABLE' });
  await writeFile(file('ca.pem'), 'nothing');
  await expect(upstream(file('ca.pem'))).rejects.toMatchObject({ code: 'TLS_INVALID' });
  await writeFile(file('ca.pem'), engine.cert);
  const made = await upstream(file('ca.pem'));
  const shared = made.of(undefined);
  expect(made.of(undefined)).toBe(shared);
  made.keep(new Set());
  expect(made.of(undefined)).not.toBe(shared);
});

test('the configuration says it', () => {
  const yaml = 'replicas: [{ id: r, url: "https://e:1", tls: { ca: /ca, cert: /c, key: /k, serverName: e.local } }]';
  expect(desiredOf(parseConfig(yaml, 'f'), 's').replicas[0]).toMatchObject({
    tls: { ca: '/ca', cert: '/c', key: '/k', serverName: 'e.local' },
  });
  for (const bad of ['{ ca: ca.pem }', '{ cert: /c }', '{ tls: x }']) {
    expect(() => parseConfig(`replicas: [{ url: "https://e:1", tls: ${bad} }]`, 'f')).toThrow(/f:1/);
  }
});
