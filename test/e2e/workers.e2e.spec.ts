import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, Server } from 'node:http';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { systemTimers } from '#libs/kernel';
import type { LaunchedNats } from '#libs/testkit';
import { docExamples, eventually, launchNats } from '#libs/testkit';
import { Program, processesOn, removeFolder, startLintel, temporaryFolder } from './lintel-process.ts';

jest.setTimeout(120_000);
const limit = 300;
const workers = 3;

let nats: LaunchedNats;
let folder: string;
let engine: Server;
let gateway: Program;
let url: string;
/** Requests of the limited tenant that the engine was asked. */
let served = 0;

const answers: Record<string, string> = {
  '/health': '',
  '/metrics': '',
  '/version': '{"version":"0.0.0"}',
  '/v1/models': '{"object":"list","data":[{"id":"tiny","object":"model"}]}',
};
const usage = { prompt_tokens: 2, completion_tokens: 1 };
const whole = JSON.stringify({ choices: [{ message: { role: 'assistant', content: 'hi' } }], usage });
const eventOf = (content: string): string => `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`;

beforeAll(async () => {
  nats = await launchNats();
  folder = await mkdtemp(join(tmpdir(), 'lintel-workers-'));
  engine = createServer((incoming, response) => {
    let body = '';
    incoming.on('data', (chunk: Buffer) => (body += String(chunk)));
    incoming.on('end', () => {
      if (body.includes('"limited"')) served++;
      if (body.includes('"stream":true')) {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write(eventOf('a'));
        systemTimers.after(30, () => void response.end(`${eventOf('b')}data: [DONE]\n\n`));
        return;
      }
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(answers[incoming.url ?? ''] ?? whole);
    });
  }).listen(0, '127.0.0.1');
  await once(engine, 'listening');
  const { port } = engine.address() as AddressInfo;
  const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
  await writeFile(
    join(folder, 'lintel.yaml'),
    `replicas: [{ id: r, url: "http://127.0.0.1:${port}", engine: vllm, models: [tiny] }]
tenants:
  - { id: free, keys: [{ id: free, sha256: ${sha256('free')} }] }
  - { id: limited, limits: [{ requests: { day: ${limit} } }], keys: [{ id: limited, sha256: ${sha256('limited')} }] }
`,
  );
  const flags = ['--port', '0', '--instance', 'gw', '--home', join(folder, 'home'), '--workers', String(workers)];
  gateway = new Program('gateway', [...flags, '--config', join(folder, 'lintel.yaml'), '--nats-url', nats.url], {
    LINTEL_NATS_PASSWORD: 'gateway-password',
  });
  await gateway.says('workers are serving', 60_000);
  url = /"url":"(http:\/\/127\.0\.0\.1:\d+)"[^\n]*workers are serving/.exec(gateway.output)?.[1] ?? '';
  await eventually(async () => expect((await fetch(`${url}/ready`)).status).toBe(200), 20_000);
}, 120_000);

afterAll(async () => {
  await gateway?.end('SIGTERM');
  engine.closeAllConnections();
  engine.close();
  await nats.stop();
  await rm(folder, { recursive: true, force: true });
}, 60_000);

/** On a connection of its own: '' where all went well, else what went wrong. */
async function ask(key: string, stream: boolean): Promise<string> {
  const answer = Promise.withResolvers<string>();
  const sent = request(`${url}/v1/chat/completions`, {
    method: 'POST',
    agent: false,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
  });
  sent.on('error', (error) => answer.resolve(String(error)));
  sent.on('response', (response) => {
    let text = '';
    response.on('data', (chunk: Buffer) => (text += String(chunk)));
    response.on('error', (error) => answer.resolve(`inside the answer: ${String(error)}`));
    response.on('end', () => {
      const good = stream ? text.endsWith('data: [DONE]\n\n') : text === whole;
      answer.resolve(response.statusCode === 200 && good ? '' : `${response.statusCode} ${text}`);
    });
  });
  sent.end(JSON.stringify({ model: 'tiny', user: key, stream, messages: [{ role: 'user', content: 'hi' }] }));
  return await answer.promise;
}

/** New connections all the time, `width` at once, until `stop`: what went wrong, and how many went well. */
function load(width: number): { readonly wrong: string[]; well(): number; stop(): Promise<void> } {
  const wrong: string[] = [];
  let well = 0;
  const stopping = new AbortController();
  const client = async (index: number): Promise<void> => {
    while (!stopping.signal.aborted) {
      const how = await ask('free', index % 2 === 0);
      if (how === '') well++;
      else wrong.push(how);
      await systemTimers.sleep(10);
    }
  };
  const clients = Array.from({ length: width }, (_, index) => client(index));
  return { wrong, well: () => well, stop: async () => (stopping.abort(), void (await Promise.all(clients))) };
}

const pids = (): number[] =>
  processesOn(folder)
    .filter((line) => line.includes('--worker '))
    .map((line) => Number(line.split(' ')[0]));

test('L57 all workers are replaced under load of new connections: none is refused, no request fails', async () => {
  const before = pids();
  expect(before).toHaveLength(workers);
  const running = load(8);
  await eventually(() => expect(running.well()).toBeGreaterThan(50), 20_000);
  process.kill(gateway.pid, 'SIGHUP');
  for (let index = 1; index <= workers; index++)
    await gateway.says(`gw-w${index} is replaced by gw-w${index}b`, 60_000);
  const then = running.well();
  await eventually(() => expect(running.well()).toBeGreaterThan(then + 100), 20_000);
  await eventually(() => expect(pids().filter((pid) => before.includes(pid))).toEqual([]), 20_000);
  await running.stop();
  process.stdout.write(
    `  workers replaced: ${running.well()} requests on new connections, ${running.wrong.length} wrong\n`,
  );
  expect(running.wrong).toEqual([]);
  expect(pids()).toHaveLength(workers);
});

test('one scrape tells the metrics of all workers', async () => {
  const text = await (await fetch(`${url}/metrics`)).text();
  const up = [...text.matchAll(/^lintel_gateway_worker_up\{worker="([\w-]+)"\} 1$/gm)].map(([, name]) => name);
  expect(up).toEqual(['gw-w1b', 'gw-w2b', 'gw-w3b']);
  const counted = [...text.matchAll(/^lintel_gateway_requests_total\{worker="([\w-]+)",[^\n]*\} (\d+)$/gm)];
  expect(new Set(counted.map(([, name]) => name)).size).toBe(workers);
  expect(text.match(/^# TYPE lintel_gateway_requests_total counter$/gm)).toHaveLength(1);
});

test('a worker that is killed is named and started again; the others serve meanwhile', async () => {
  const running = load(4);
  await eventually(() => expect(running.well()).toBeGreaterThan(20), 20_000);
  const [victim] = pids();
  process.kill(victim as number, 'SIGKILL');
  await gateway.says(/gw-w\db died \(SIGKILL\) and is started again/, 10_000);
  const then = running.well();
  await eventually(() => expect(running.well()).toBeGreaterThan(then + 50), 20_000);
  await eventually(() => expect(pids().filter((pid) => pid !== victim)).toHaveLength(workers), 20_000);
  await running.stop();
  // Those alone that were on it, one for each client at most.
  expect(running.wrong.length).toBeLessThanOrEqual(4);
  expect(await (await fetch(`${url}/metrics`)).text()).toContain('lintel_gateway_worker_restarts_total 1');
});

test('L40 a limit holds exactly over the workers', async () => {
  const statuses: string[] = [];
  const client = async (): Promise<void> => {
    // Each connection is another worker's, perhaps: all of them must have met the end.
    for (let refused = 0; refused < 12;) {
      const how = await ask('limited', false);
      statuses.push(how.slice(0, 3));
      if (how === '') refused = 0;
      else refused++;
    }
  };
  await Promise.all([client(), client(), client(), client()]);
  process.stdout.write(`  limit of ${limit} over ${workers} workers: ${served} served\n`);
  expect(served).toBeLessThanOrEqual(limit);
  expect(served).toBeGreaterThanOrEqual(limit * 0.97);
  expect(statuses.filter((status) => status !== '' && status !== '429')).toEqual([]);
});

test('SIGTERM drains all', async () => {
  const running = load(2);
  await eventually(() => expect(running.well()).toBeGreaterThan(5), 20_000);
  await running.stop();
  const { code } = await gateway.end('SIGTERM');
  expect(code).toBe(0);
  expect(processesOn(folder)).toEqual([]);
});

test('the examples of docs/operating.md: npx lintel up --workers, too, serves by several processes and ends them all', async () => {
  const [example] = docExamples('docs/operating.md', '', 'Several processes on a port');
  expect(example).toContain('node dist/apps/gateway/src/main.js --workers 4 --config lintel.yaml');
  const [, flag, count] = /npx lintel up (--workers) (\d)/.exec(example ?? '') ?? [];
  const home = await temporaryFolder();
  const file = join(home, 'lintel.yaml');
  const tokenizer = join(import.meta.dirname, '../../libs/tokenizer/fixtures/tiny');
  await writeFile(file, `tokenizers: { sim-8b: { path: ${tokenizer} } }\n`);
  try {
    const { program, gatewayUrl } = await startLintel(join(home, 'home'), [
      flag as string,
      count as string,
      '--sim',
      '1',
      '--open',
      '--compat',
      'aibrix',
      '--config',
      file,
    ]);
    const text = await (await fetch(`${gatewayUrl}/metrics`)).text();
    expect(text.match(/^lintel_gateway_worker_up\{worker="gateway-[w\d]+"\} 1$/gm)).toHaveLength(Number(count));
    // Files of this machine stand in no log: each process has them all the same.
    await eventually(async () => {
      const now = await (await fetch(`${gatewayUrl}/metrics`)).text();
      expect(now.match(/^lintel_gateway_tokenizer_usable\{worker="[\w-]+",model="sim-8b"[^}]*\} 1$/gm)).toHaveLength(
        Number(count),
      );
    }, 20_000);
    // Connections fall on the processes at random: each of them takes the admin key of the home.
    const adminKey = (await readFile(join(home, 'home', 'admin-key'), 'utf8')).trim();
    const create = async (index: number): Promise<number | undefined> => {
      const headers = { authorization: `Bearer ${adminKey}`, 'content-type': 'application/json' };
      const sent = request(`${gatewayUrl}/CreateUser`, { method: 'POST', agent: false, headers });
      sent.end(JSON.stringify({ name: `u${index}`, rpm: 1, tpm: 1 }));
      const [response] = (await once(sent, 'response')) as [IncomingMessage];
      response.resume();
      return response.statusCode;
    };
    const created = await Promise.all(Array.from({ length: 24 }, (_, index) => create(index)));
    expect(new Set(created)).toEqual(new Set([200]));
    const { code } = await program.end('SIGTERM');
    expect(code).toBe(0);
    expect(processesOn(home)).toEqual([]);
  } finally {
    await removeFolder(home);
  }
});
