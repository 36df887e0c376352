import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { createServer, request } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { selfMadeCertificate } from '../../apps/gateway/src/certificate.fixture.ts';
import type { Lintel } from './lintel-process.ts';
import { lintel, Program, removeFolder, startLintel, temporaryFolder } from './lintel-process.ts';

jest.setTimeout(150_000);

let folder: string;
let home: string;
let running: Lintel;
const { cert, key } = selfMadeCertificate(new Date());
let certFile: string;
let keyFile: string;

beforeAll(async () => {
  folder = await temporaryFolder();
  home = join(folder, 'home');
  certFile = join(folder, 'tls.crt');
  keyFile = join(folder, 'tls.key');
  await writeFile(certFile, cert);
  await writeFile(keyFile, key);
  running = await startWith('lintel.yaml', `tls: { cert: ${certFile}, key: ${keyFile} }\n`);
});
afterAll(async () => await removeFolder(folder));

async function startWith(name: string, text: string): Promise<Lintel> {
  const file = join(folder, name);
  await writeFile(file, text);
  return await startLintel(home, ['--config', file, '--sim', '1']);
}

async function get(url: string, ca: string): Promise<number | undefined> {
  const sent = request(url, { ca, agent: false, headers: { authorization: `Bearer ${running.apiKey}` } });
  sent.end();
  const [response] = await once(sent, 'response');
  response.resume();
  return response.statusCode;
}

test('npm start with TLS waits until its gateway is ready behind https, and prints what to copy', async () => {
  const { output } = running.program;
  expect(running.gatewayUrl).toMatch(/^https:\/\//);
  expect(output).toMatch(/✓ ready +serving sim-8b/);
  expect(output).not.toContain('not ready yet');
  expect(output).toContain(`curl -N -i ${running.gatewayUrl}/v1/chat/completions`);
  expect(output).toContain(`certificate  ${certFile}`);
  expect(await get(`${running.gatewayUrl}/v1/models`, cert)).toBe(200);
});

test('lintel status believes the certificate of its own gateway; --ca and LINTEL_CA name the authority of another address', async () => {
  const status = await lintel(home, 'status');
  expect([status.code, status.output]).toEqual([0, expect.stringMatching(/gateway +up +https:/)]);

  // Diagnostics behind a proxy with a certificate that nobody knows.
  const proxy = createServer({ cert, key }, (incoming, response) => {
    const { method, url, headers } = incoming;
    const on = httpRequest(`${running.apiUrl}${url}`, { method, headers, agent: false }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    incoming.pipe(on);
  }).listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  try {
    const api = `https://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    const adminKey = (await readFile(join(home, 'admin-key'), 'utf8')).trim();
    const ask = async (args: readonly string[], variables: Record<string, string> = {}) =>
      await new Program('cli', ['--api', api, ...args, 'get', 'replicas'], {
        LINTEL_ADMIN_KEY: adminKey,
        ...variables,
      }).exited;
    expect(await ask([])).toMatchObject({ code: 4, output: expect.stringContaining('--ca names its authority') });
    expect(await ask(['--ca', certFile])).toMatchObject({ code: 0, output: expect.stringContaining('sim-0') });
    expect(await ask([], { LINTEL_CA: certFile })).toMatchObject({ code: 0 });
    for (const file of [keyFile, join(folder, 'nothing')]) {
      expect(await ask(['--ca', file])).toMatchObject({ code: 2, output: expect.stringContaining('--ca (LINTEL_CA)') });
    }
  } finally {
    proxy.closeAllConnections();
    proxy.close();
  }
});

test('where clients need a certificate the start does not wait for an answer that it cannot have', async () => {
  await running.program.end('SIGTERM');
  running = await startWith('mutual.yaml', `tls: { cert: ${certFile}, key: ${keyFile}, clientCa: ${certFile} }\n`);
  const { output } = running.program;
  expect(output).toMatch(/✓ ready +serving sim-8b/);
  expect(output).not.toContain('not ready yet');
  expect(output).toContain('--cert <your certificate> --key <its key>');
  const status = await lintel(home, 'status');
  expect([status.code, status.output]).toEqual([1, expect.stringContaining('only clients with a certificate')]);
  await running.program.end('SIGTERM');
});
