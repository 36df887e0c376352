import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { Server } from 'node:http';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { systemClock, systemTimers } from '#libs/kernel';
import type { LaunchedNats } from '#libs/testkit';
import { eventually, launchNats, wideWindow } from '#libs/testkit';
import { Program } from './lintel-process.ts';

jest.setTimeout(120_000);

const workers = 2;
const slots = 8;
const serviceMs = 60;
/** Requests of the noisy tenant. */
const limit = 200;
/** Connections at once: the noisy tenant has four times those of the steady one. */
const width = { noisy: 64, steady: 16, quiet: 1 };
type Tenant = keyof typeof width;
const tenants = Object.keys(width) as Tenant[];

let nats: LaunchedNats;
let folder: string;
let engine: Server;
let gateway: Program;
let url: string;
/** Of each tenant, what the engine was asked. */
const served: Record<Tenant, number> = { noisy: 0, steady: 0, quiet: 0 };
/** The same when the noisy one had most of its limit. */
let whileBothWait: Record<Tenant, number> | undefined;

const answers: Record<string, string> = {
  '/health': '',
  '/metrics': '',
  '/version': '{"version":"0.0.0"}',
  '/v1/models': '{"object":"list","data":[{"id":"tiny","object":"model"}]}',
};
const usage = { prompt_tokens: 2, completion_tokens: 1 };
const whole = JSON.stringify({ choices: [{ message: { role: 'assistant', content: 'hi' } }], usage });

beforeAll(async () => {
  nats = await launchNats();
  folder = await mkdtemp(join(tmpdir(), 'lintel-fair-'));
  engine = createServer((incoming, response) => {
    let body = '';
    incoming.on('data', (chunk: Buffer) => (body += String(chunk)));
    incoming.on('end', () => {
      response.setHeader('content-type', 'application/json');
      const known = answers[incoming.url ?? ''];
      if (known !== undefined) return void response.end(known);
      if (incoming.method !== 'POST') return void response.writeHead(404).end();
      served[(JSON.parse(body) as { user: Tenant }).user]++;
      if (served.noisy >= 0.7 * limit) whileBothWait ??= { ...served };
      systemTimers.after(serviceMs, () => void response.end(whole));
    });
  }).listen(0, '127.0.0.1');
  await once(engine, 'listening');
  const { port } = engine.address() as AddressInfo;
  const key = (text: string): string => createHash('sha256').update(text).digest('hex');
  const limits = `, limits: [{ requests: { ${wideWindow(systemClock.nowMs())}: ${limit} } }]`;
  await writeFile(
    join(folder, 'lintel.yaml'),
    `replicas: [{ id: r, url: "http://127.0.0.1:${port}", engine: vllm, models: [tiny] }]
policies:
  - id: fair
    models: [tiny]
    profiles: { default: { strategy: least-request, routingConfig: { flowControl: { slots: ${slots}, waitMsMax: 30000 } } } }
tenants:
${tenants.map((id) => `  - { id: ${id}, keys: [{ id: ${id}, sha256: ${key(id)} }]${id === 'noisy' ? limits : ''} }`).join('\n')}
`,
  );
  const flags = ['--port', '0', '--instance', 'gw', '--home', join(folder, 'home'), '--workers', String(workers)];
  gateway = new Program('gateway', [...flags, '--config', join(folder, 'lintel.yaml'), '--nats-url', nats.url], {
    LINTEL_NATS_PASSWORD: 'gateway-password',
  });
  await gateway.says('workers are serving', 60_000);
  url = /"url":"(http:\/\/127\.0\.0\.1:\d+)"[^\n]*workers are serving/.exec(gateway.output)?.[1] ?? '';
  await eventually(async () => expect((await fetch(`${url}/ready`)).status).toBe(200), 20_000);
  // Both workers know the policy and the keys.
  for (let good = 0; good < 6;) good = (await ask('quiet')) === 200 ? good + 1 : 0;
}, 120_000);

afterAll(async () => {
  await gateway?.end('SIGTERM');
  engine.closeAllConnections();
  engine.close();
  await nats.stop();
  await rm(folder, { recursive: true, force: true });
}, 60_000);

/** On a connection of its own, which falls on either worker: the status. */
async function ask(tenant: Tenant): Promise<number> {
  const answer = Promise.withResolvers<number>();
  const headers = { authorization: `Bearer ${tenant}`, 'content-type': 'application/json' };
  const sent = request(`${url}/v1/chat/completions`, { method: 'POST', agent: false, headers });
  sent.on('error', answer.reject);
  sent.on('response', (response) => {
    response.resume();
    response.on('error', answer.reject);
    response.on('end', () => answer.resolve(response.statusCode ?? 0));
  });
  sent.end(JSON.stringify({ model: 'tiny', user: tenant, messages: [{ role: 'user', content: 'hi' }] }));
  return await answer.promise;
}

test('L40 over two workers a noisy tenant gets its limit, no more and hardly less, and no more than its share of the engine meanwhile', async () => {
  const before = { ...served };
  const state = { over: false };
  const statuses = new Set<number>();
  let refused = 0;
  const quietMs: number[] = [];
  const client = async (tenant: Tenant): Promise<void> => {
    while (!state.over) {
      const sentAtMs = systemClock.monotonicMs();
      const status = await ask(tenant);
      statuses.add(status);
      if (tenant === 'quiet') quietMs.push(systemClock.monotonicMs() - sentAtMs);
      if (status !== 429) continue;
      // Each of both workers must have met the end.
      if (++refused >= 40) state.over = true;
      await systemTimers.sleep(20);
    }
  };
  await Promise.all(tenants.flatMap((tenant) => Array.from({ length: width[tenant] }, () => client(tenant))));

  expect([...statuses].sort()).toEqual([200, 429]);
  expect(served.noisy).toBeLessThanOrEqual(limit);
  expect(served.noisy).toBeGreaterThanOrEqual(0.97 * limit);

  // As long as the limit was far both always had requests waiting.
  const noisy = whileBothWait!.noisy - before.noisy;
  const steady = whileBothWait!.steady - before.steady;
  quietMs.sort((a, b) => a - b);
  const p90Ms = quietMs[Math.floor(0.9 * quietMs.length)]!;
  process.stdout.write(
    `  two workers: noisy ${noisy}, steady ${steady}; limit ${limit}, served ${served.noisy}; quiet p90 ${p90Ms.toFixed(0)} ms of ${quietMs.length}\n`,
  );
  // By connections the steady one would have a fifth.
  expect(steady / (noisy + steady)).toBeGreaterThan(0.4);
  // Who asks for one at a time waits for a place, not for what the others have waiting (their own wait is about ten times the service).
  expect(p90Ms).toBeLessThan(5 * serviceMs);
});
