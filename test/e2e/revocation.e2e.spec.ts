import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { Server } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { EventRegistry } from '#libs/contracts';
import { hashApiKey } from '#libs/domain/tenancy';
import { natsBroker } from '#libs/event-log-nats';
import { systemEnvironment } from '#libs/kernel';
import { toCommandHeaders, TypedClient } from '#libs/nest-kit';
import type { LaunchedNats } from '#libs/testkit';
import { launchNats } from '#libs/testkit';
import { Program } from './lintel-process.ts';

let nats: LaunchedNats;
let folder: string;
let engine: Server;
const gateways: { readonly program: Program; readonly url: string }[] = [];

const answers: Record<string, string> = {
  '/health': '',
  '/metrics': '',
  '/version': '{"version":"0.0.0"}',
  '/v1/models': '{"object":"list","data":[{"id":"tiny","object":"model"}]}',
};

async function start(instance: string): Promise<void> {
  const flags = ['--port', '0', '--instance', instance, '--home', join(folder, instance)];
  const program = new Program('gateway', [...flags, '--config', join(folder, 'lintel.yaml'), '--nats-url', nats.url], {
    LINTEL_NATS_PASSWORD: 'gateway-password',
  });
  const listens =
    /(http:\/\/127\.0\.0\.1:\d+).*gateway is listening|gateway is listening.*(http:\/\/127\.0\.0\.1:\d+)/s;
  await program.says(listens, 30_000);
  const [, before, behind] = listens.exec(program.output)!;
  gateways.push({ program, url: (before ?? behind)! });
}

beforeAll(async () => {
  nats = await launchNats();
  folder = await mkdtemp(join(tmpdir(), 'lintel-revocation-'));
  engine = createServer((request, response) => {
    request.resume().on('end', () => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(answers[request.url ?? ''] ?? '{}');
    });
  }).listen(0, '127.0.0.1');
  await once(engine, 'listening');
  const { port } = engine.address() as AddressInfo;
  const replica = `{ id: r, url: "http://127.0.0.1:${port}", engine: vllm, models: [tiny] }`;
  const keys = [0, 1, 2, 3, 4].map((n) => `{ id: k${n}, sha256: ${hashApiKey(`secret-${n}`)} }`).join(', ');
  await writeFile(join(folder, 'lintel.yaml'), `replicas: [${replica}]\ntenants: [{ id: acme, keys: [${keys}] }]\n`);
  for (const instance of ['g1', 'g2']) await start(instance);
}, 90_000);

afterAll(async () => {
  await Promise.all(gateways.map(({ program }) => program.end('SIGKILL')));
  engine?.closeAllConnections();
  engine?.close();
  await nats?.stop();
  await rm(folder, { recursive: true, force: true });
}, 30_000);

async function status(url: string, key: string): Promise<number> {
  const response = await fetch(`${url}/v1/models`, { headers: { authorization: `Bearer ${key}` } });
  await response.arrayBuffer();
  return response.status;
}

/** Asks again and again until it is so; answers when. */
async function until(url: string, key: string, wanted: number): Promise<number> {
  while ((await status(url, key)) !== wanted);
  return systemEnvironment.clock.monotonicMs();
}

test('a key that is revoked is refused by every gateway within a second, and by each from then on', async () => {
  const cli = await natsBroker({
    url: nats.url,
    user: 'cli',
    password: 'cli-password',
    name: 'cli:test',
    registry: new EventRegistry(),
  });
  const client = new TypedClient(cli.requester);
  const worst: number[] = [];
  try {
    for (let n = 0; n < 5; n++) {
      const key = `secret-${n}`;
      for (const { url } of gateways) await until(url, key, 200);
      const startMs = systemEnvironment.clock.monotonicMs();
      const refused = Promise.all(gateways.map(async ({ url }) => await until(url, key, 401)));
      await client.send(
        'tenancy.RevokeKey',
        { tenantId: 'acme', keyId: `k${n}`, reason: 'leaked' },
        { deadlineMs: 5_000, headers: toCommandHeaders({ actor: 'cli:test', commandId: `revoke-${n}` }) },
      );
      worst.push(Math.max(...(await refused)) - startMs);
      for (const { url } of gateways) expect(await status(url, key)).toBe(401);
    }
  } finally {
    await cli.close();
  }
  // From the command given to the last gateway's first refusal.
  expect(Math.max(...worst)).toBeLessThan(1_000);
  process.stdout.write(`revocation reached both gateways after ${worst.map((ms) => ms.toFixed(1)).join(', ')} ms\n`);
}, 60_000);
