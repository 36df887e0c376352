import type { AddressInfo } from 'node:net';
import { createServer } from 'node:https';
import { afterEach, describe, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import { systemClock, systemTimers } from '#libs/kernel';
import { selfMadeCertificate } from '../../certificate.fixture.ts';
import { createProbe } from '../../fleet/probe.ts';
import { createSecureContext } from 'node:tls';
import { certificatesIn } from '../../edge/certificates.ts';
import type { UpstreamTrust } from '../../edge/upstream-tls.ts';
import { afterwards, chat, closeAll, errorOf, gateway, post, sse, token } from '../serve.fixture.ts';

const { AttemptEnd, Outcome } = route;

afterEach(closeAll);

const trustOf = (ca: string): UpstreamTrust => ({ context: createSecureContext({ ca }), serverName: '' });

const made = selfMadeCertificate(new Date(systemClock.nowMs()));
const other = selfMadeCertificate(new Date(systemClock.nowMs()));

/** An engine behind https; counts its connections. */
async function secure(): Promise<{ port: number; connections(): number }> {
  let connections = 0;
  const server = createServer(made, (request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      if (body.includes('"stream":true')) {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write(sse(token('a')));
        response.end(sse(token('b'), '[DONE]'));
      } else response.end(JSON.stringify({ length: body.length }));
    });
  });
  server.on('secureConnection', () => connections++);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  afterwards(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, connections: () => connections };
}

describe('a replica behind https', () => {
  test.each(['127.0.0.1', 'localhost'])(
    'at %s is asked over one kept connection, large bodies and streams too',
    async (host) => {
      const { port, connections } = await secure();
      const lintel = await gateway([`https://${host}:${port}`], { trust: trustOf(made.cert) });
      for (const size of [1, 100_000, 2_000_000]) {
        const body = chat({ pad: 'x'.repeat(size) });
        expect(await (await post(lintel, body)).json()).toEqual({ length: body.length });
      }
      expect(await (await post(lintel, chat({ stream: true }))).text()).toBe(sse(token('a'), token('b'), '[DONE]'));
      expect(connections()).toBe(1);
      expect(lintel.records.map(({ outcome }) => outcome)).toEqual(Array.from({ length: 4 }, () => Outcome.COMPLETED));
    },
  );

  test.each([
    ['by nobody known', undefined],
    ['by another authority', other.cert],
  ])('certified %s is not spoken to', async (_name, ca) => {
    const { port } = await secure();
    const lintel = await gateway([`https://127.0.0.1:${port}`], { trust: ca === undefined ? undefined : trustOf(ca) });
    const response = await post(lintel, chat());
    expect([response.status, (await errorOf(response)).code]).toEqual([502, 'upstream_failed']);
    const { attempts } = await lintel.record();
    expect(attempts.map(({ end }) => end)).toEqual([AttemptEnd.CONNECT_FAILED]);
    expect(attempts[0]!.error).toMatch(/certificate/);
  });

  test('is probed by the same trust', async () => {
    const { port } = await secure();
    const trusting = createProbe(systemTimers, () => trustOf(made.cert));
    const wary = createProbe(systemTimers);
    afterwards(() => trusting.close());
    afterwards(() => wary.close());
    expect((await trusting.probe(`https://127.0.0.1:${port}`, '/health', undefined, 1000)).status).toBe(200);
    await expect(wary.probe(`https://127.0.0.1:${port}`, '/health', undefined, 1000)).rejects.toThrow(/certificate/);
  });

  test.each(['', 'nothing', made.key, made.cert.replaceAll('M', 'A')])('a CA file that is none is told', (text) => {
    expect(() => certificatesIn(text, 'the CA file')).toThrow(/the CA file/);
  });
});
