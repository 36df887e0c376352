import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { Server } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { SeededRng, systemClock, systemTimers } from '#libs/kernel';
import type { LaunchedNats } from '#libs/testkit';
import { launchNats, wideWindow } from '#libs/testkit';
import { Program } from './lintel-process.ts';

const limit = 400;
const instances = ['g1', 'g2', 'g3'] as const;
type Instance = (typeof instances)[number];

let nats: LaunchedNats;
let folder: string;
let engine: Server;
/** Requests that the engine was asked: what a limit of requests is about. */
let served = 0;
const gateways = new Map<Instance, { readonly program: Program; readonly url: string }>();

/** As much of an engine as the gateway looks at. */
const answers: Record<string, string> = {
  '/health': '',
  '/metrics': '',
  '/version': '{"version":"0.0.0"}',
  '/v1/models': '{"object":"list","data":[{"id":"tiny","object":"model"}]}',
};

async function start(instance: Instance): Promise<void> {
  const flags = ['--port', '0', '--instance', instance, '--home', join(folder, instance)];
  const program = new Program('gateway', [...flags, '--config', join(folder, 'lintel.yaml'), '--nats-url', nats.url], {
    LINTEL_NATS_PASSWORD: 'gateway-password',
  });
  gateways.set(instance, { program, url: '' });
  const listens =
    /(http:\/\/127\.0\.0\.1:\d+).*gateway is listening|gateway is listening.*(http:\/\/127\.0\.0\.1:\d+)/s;
  await program.says(listens, 30_000);
  const [, url] = listens.exec(program.output)!;
  gateways.set(instance, { program, url: url! });
}

beforeAll(async () => {
  nats = await launchNats();
  folder = await mkdtemp(join(tmpdir(), 'lintel-quota-'));
  engine = createServer((request, response) => {
    const known = answers[request.url ?? ''];
    if (request.method === 'POST') served++;
    const usage = { prompt_tokens: 2, completion_tokens: 1 };
    request.resume().on('end', () => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(known ?? JSON.stringify({ choices: [{ message: { role: 'assistant', content: 'hi' } }], usage }));
    });
  }).listen(0, '127.0.0.1');
  await once(engine, 'listening');
  const { port } = engine.address() as AddressInfo;
  const sha256 = createHash('sha256').update('secret').digest('hex');
  await writeFile(
    join(folder, 'lintel.yaml'),
    `replicas: [{ id: r, url: "http://127.0.0.1:${port}", engine: vllm, models: [tiny] }]
tenants: [{ id: acme, limits: [{ requests: { ${wideWindow(systemClock.nowMs())}: ${limit} } }], keys: [{ id: k, sha256: ${sha256} }] }]
`,
  );
  for (const instance of instances) await start(instance);
}, 120_000);

afterAll(async () => {
  await Promise.all([...gateways.values()].map(({ program }) => program.end('SIGKILL')));
  engine.closeAllConnections();
  engine.close();
  await nats.stop();
  await rm(folder, { recursive: true, force: true });
}, 30_000);

/** The status, or 0 where the gateway was not there. */
async function ask(instance: Instance): Promise<number> {
  try {
    const response = await fetch(`${gateways.get(instance)?.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: 'Bearer secret', 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'tiny', messages: [{ role: 'user', content: 'hi' }] }),
    });
    await response.text();
    return response.status;
  } catch {
    return 0;
  }
}

test('L40 three gateway processes, killed at random under load, never let more through than the limit', async () => {
  const rng = new SeededRng(7);
  const statuses = new Map<number, number>();
  const state = { over: false };
  const client = async (): Promise<void> => {
    while (!state.over) {
      const status = await ask(instances[rng.below(instances.length)]!);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
      await systemTimers.sleep(status === 200 ? 10 : 25);
    }
  };
  const clients = [1, 2, 3, 4].map(() => client());
  for (let round = 0; round < 3; round++) {
    await systemTimers.sleep(300 + rng.below(400));
    const victim = instances[rng.below(instances.length)]!;
    await gateways.get(victim)!.program.end('SIGKILL');
    await start(victim);
  }
  // Each has met the end of the window by now, or meets it soon.
  const untilRefused = async (instance: Instance): Promise<void> => {
    for (let refusals = 0; refusals < 5;) refusals = (await ask(instance)) === 429 ? refusals + 1 : 0;
  };
  await Promise.all(instances.map(untilRefused));
  state.over = true;
  await Promise.all(clients);
  expect(served).toBeLessThanOrEqual(limit);
  // What a dead one held is lost: a quarter of what is left, each time, at most.
  expect(served).toBeGreaterThan(limit * 0.75 ** 3);
  expect(statuses.get(200)).toBeLessThanOrEqual(served);
  expect([...statuses.keys()].filter((status) => ![0, 200, 429, 503].includes(status))).toEqual([]);
}, 120_000);
