import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { IncomingHttpHeaders, Server } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import type { LaunchedNats } from '#libs/testkit';
import { eventually, launchNats } from '#libs/testkit';
import { Program } from './lintel-process.ts';

jest.setTimeout(60_000);

interface Asked {
  readonly port: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

let nats: LaunchedNats;
let folder: string;
let gateway: Program;
let url: string;
const engines: Server[] = [];
/** What the engines were asked, newest last. */
const asked: Asked[] = [];

const models = ['chat-m', 'locked-m', 'split-m', 'gone-m', 'broken-m'];
const list = JSON.stringify({ object: 'list', data: models.map((id) => ({ id, object: 'model' })) });
const looks: Record<string, string> = {
  '/health': '',
  '/metrics': '',
  '/version': '{"version":"0.0.0"}',
  '/v1/models': list,
};
const transfer = { do_remote_prefill: true, remote_engine_id: 'e', remote_block_ids: [1], remote_host: '127.0.0.1' };
const whole = {
  id: 'chatcmpl-1',
  choices: [{ message: { role: 'assistant', content: 'hi' }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 30, completion_tokens: 10 },
  kv_transfer_params: { ...transfer, remote_port: 1 },
};

/** As much of an engine as a gateway looks at; one that is `broken` hangs up on whoever wants an answer. */
async function startEngine(broken = false): Promise<string> {
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += String(chunk)));
    request.on('end', () => {
      const known = looks[request.url ?? ''];
      response.setHeader('content-type', 'application/json');
      if (known !== undefined) return void response.end(known);
      asked.push({ port: (server.address() as AddressInfo).port, headers: request.headers, body });
      if (broken) return void request.socket.destroy();
      if (request.headers.authorization === 'Bearer wrong') {
        return void response.writeHead(401).end('{"error":"Unauthorized"}');
      }
      response.end(JSON.stringify(whole));
    });
  }).listen(0, '127.0.0.1');
  engines.push(server);
  await once(server, 'listening');
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** AIBrix's standalone file, as its users have it. */
const file = (a: string, b: string, prefill: string, decode: string, broken: string): string => `models:
  - name: chat-m
    engine: vllm
    endpoints: ["${a}", "${b}"]
    annotations:
      model.aibrix.ai/config: |
        {"defaultProfile":"least","profiles":{
          "least":{"routingStrategy":"least-request","routingConfig":{"promptTokensLt":200}},
          "long":{"routingStrategy":"prefix-cache","routingConfig":{"promptTokensGte":200}},
          "one":{"routingStrategy":"random","requestsPerSecond":1}}}
  - name: locked-m
    engine: vllm
    endpoints: ["${a}"]
    annotations:
      model.aibrix.ai/config: '{"lockedRoutingStrategy":"random","profiles":{"default":{"routingStrategy":"least-request"}}}'
  - name: split-m
    engine: vllm
    rolesets:
      - name: r
        prefill: ["${prefill}"]
        decode: ["${decode}"]
  - name: gone-m
    engine: vllm
    endpoints: ["127.0.0.1:1"]
  - name: broken-m
    engine: vllm
    endpoints: ["${broken}"]
`;

let addresses: Record<'a' | 'b' | 'prefill' | 'decode' | 'broken', string>;

beforeAll(async () => {
  nats = await launchNats();
  folder = await mkdtemp(join(tmpdir(), 'lintel-aibrix-'));
  const [a, b, prefill, decode] = [await startEngine(), await startEngine(), await startEngine(), await startEngine()];
  addresses = { a, b, prefill, decode, broken: await startEngine(true) };
  await writeFile(join(folder, 'models.yaml'), file(a, b, prefill, decode, addresses.broken));
  const flags = ['--port', '0', '--instance', 'gw', '--home', join(folder, 'home'), '--compat', 'aibrix', '--open'];
  gateway = new Program('gateway', [...flags, '--config', join(folder, 'models.yaml'), '--nats-url', nats.url], {
    LINTEL_NATS_PASSWORD: 'gateway-password',
    LINTEL_ADMIN_KEY: 'the-admin-key',
  });
  const listens =
    /(http:\/\/127\.0\.0\.1:\d+).*gateway is listening|gateway is listening.*(http:\/\/127\.0\.0\.1:\d+)/s;
  await gateway.says(listens, 60_000);
  const found = listens.exec(gateway.output)!;
  url = found[1] ?? found[2] ?? '';
  // Each policy is a commit of its own, the last model's the last.
  const profileOf = async (more: { model?: string }): Promise<unknown[]> =>
    told(await ask({}, more), 'routing-strategy');
  await eventually(async () => {
    expect([await profileOf({}), await profileOf({ model: 'locked-m' })]).toEqual([['least-request'], ['random']]);
  }, 30_000);
}, 120_000);

afterAll(async () => {
  await gateway?.end('SIGKILL');
  for (const server of engines) {
    server.closeAllConnections();
    server.close();
  }
  await nats?.stop();
  await rm(folder, { recursive: true, force: true });
}, 30_000);

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly code: string | undefined;
  readonly text: string;
}

const long = 'the quick brown fox jumps over the lazy dog. '.repeat(100);

async function ask(
  headers: Record<string, string>,
  { model = 'chat-m', content = 'hi', path = '/v1/chat/completions', body = '' } = {},
): Promise<Answer> {
  const response = await fetch(`${url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: body === '' ? JSON.stringify({ model, max_tokens: 5, messages: [{ role: 'user', content }] }) : body,
  });
  const text = await response.text();
  let code: string | undefined;
  try {
    code = (JSON.parse(text) as { error?: { code?: string } }).error?.code;
  } catch {
    code = undefined;
  }
  return { status: response.status, headers: response.headers, code, text };
}

const told = ({ headers }: Answer, ...names: string[]): (string | null)[] => names.map((name) => headers.get(name));

async function users(call: string, body: object, key = 'the-admin-key'): Promise<number> {
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${key}` };
  return (await fetch(`${url}/${call}`, { method: 'POST', headers, body: JSON.stringify(body) })).status;
}

describe("an AIBrix user's file and request headers", () => {
  test('the default profile routes, and the answer names request, replica, strategy and profile', async () => {
    const answer = await ask({});
    const [id, pod, ip, strategy, profile] = told(
      answer,
      'request-id',
      'target-pod',
      'target-pod-ip',
      'routing-strategy',
      'x-aibrix-config-profile',
    );
    expect(id).toMatch(/^[0-9a-f-]{36}$/);
    expect([addresses.a, addresses.b]).toContain(ip);
    expect(pod).toBe(`chat-m-${ip!.replaceAll(/[.:]/g, '-')}`);
    expect([strategy, profile]).toEqual(['least-request', 'least']);
  });

  test('routing-strategy and config-profile choose, auto by the prompt, a lock overrides', async () => {
    expect(told(await ask({ 'routing-strategy': 'random' }), 'routing-strategy')).toEqual(['random']);
    expect(told(await ask({ 'routing-strategy': 'least-request:2,prefix-cache:1' }), 'routing-strategy')).toEqual([
      'least-request:2,prefix-cache:1',
    ]);
    expect(told(await ask({ 'config-profile': 'long' }), 'routing-strategy', 'x-aibrix-config-profile')).toEqual([
      'prefix-cache',
      'long',
    ]);
    const auto = { 'config-profile': 'auto' };
    expect(told(await ask(auto), 'x-aibrix-config-profile')).toEqual(['least']);
    expect(told(await ask(auto, { content: long }), 'x-aibrix-config-profile')).toEqual(['long']);
    const locked = await ask({ 'routing-strategy': 'least-request' }, { model: 'locked-m' });
    expect(told(locked, 'routing-strategy')).toEqual(['random']);
  });

  test('sessions stay where they are, by either header, and one is made where none is given', async () => {
    const affinity = { 'routing-strategy': 'session-affinity' };
    for (const name of ['x-session-id', 'x-aibrix-session-key']) {
      const pods = new Set<string | null>();
      for (let turn = 0; turn < 4; turn++)
        pods.add((await ask({ ...affinity, [name]: 's1' })).headers.get('target-pod'));
      expect(pods.size).toBe(1);
    }
    expect(told(await ask({ ...affinity, 'x-session-id': 's1' }), 'x-session-id')).toEqual(['s1']);
    expect((await ask(affinity)).headers.get('x-session-id')).toMatch(/./);
  });

  test('authorization, x-request-id and traceparent reach the engine; target-pod and x-lintel-* do not', async () => {
    await ask({
      authorization: 'Bearer client-key',
      'x-request-id': 'mine',
      traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      'target-pod': addresses.broken,
      'x-lintel-anything': 'x',
    });
    const { headers } = asked.at(-1)!;
    expect(headers).toMatchObject({ authorization: 'Bearer client-key', 'x-request-id': 'mine' });
    expect(headers['traceparent']).toContain('0af7651916cd43dd8448eb211c80319c');
    expect([headers['target-pod'], headers['x-lintel-anything']]).toEqual([undefined, undefined]);
    const refused = await ask({ authorization: 'Bearer wrong' });
    expect([refused.status, refused.text]).toEqual([401, '{"error":"Unauthorized"}']);
  });

  test('external-filter selects by labels', async () => {
    expect((await ask({ 'external-filter': 'model.aibrix.ai/name=chat-m,model.aibrix.ai/engine=vllm' })).status).toBe(
      200,
    );
    const none = await ask({ 'external-filter': 'model.aibrix.ai/name=other' });
    expect([none.status, ...told(none, 'x-error-routing')]).toEqual([503, 'true']);
    expect(Number(none.headers.get('retry-after'))).toBeGreaterThan(0);
  });

  test('a model of role sets is served by a pair, both named', async () => {
    await eventually(async () => {
      const answer = await ask({}, { model: 'split-m', content: `${asked.length} ${long}` });
      expect([answer.status, ...told(answer, 'routing-strategy', 'prefill-target-pod-ip', 'target-pod-ip')]).toEqual([
        200,
        'pd',
        addresses.prefill,
        addresses.decode,
      ]);
      expect(answer.headers.get('prefill-target-pod')).toMatch(/^split-m-prefill-/);
    }, 20_000);
  });
});

describe("AIBrix's errors", () => {
  const form = (name: string): string => `--x\r\ncontent-disposition: form-data; name="${name}"\r\n\r\na\r\n--y\r\n`;
  const cases: [
    string,
    Record<string, string>,
    Parameters<typeof ask>[1],
    number,
    string | undefined,
    string,
    string,
  ][] = [
    ['an unknown model', {}, { model: 'nope' }, 400, 'model_not_found', 'x-error-no-model-backends', 'nope'],
    [
      'a model without a ready replica',
      {},
      { model: 'gone-m' },
      503,
      'no_ready_replica',
      'x-error-no-model-backends',
      'gone-m',
    ],
    ['no model', {}, { body: '{"messages":[]}' }, 400, 'missing_model', 'x-error-no-model-in-request', 'true'],
    ['a broken body', {}, { body: '{' }, 400, 'invalid_json', 'x-error-request-body-processing', 'true'],
    [
      'an unknown strategy',
      { 'routing-strategy': 'best' },
      {},
      400,
      'invalid_routing_strategy',
      'x-error-invalid-routing-strategy',
      'true',
    ],
    ['a broken selector', { 'external-filter': '=(' }, {}, 400, 'invalid_external_filter', 'x-error-routing', 'true'],
    ['an unknown user', { user: 'nobody' }, {}, 401, 'unknown_user', 'x-error-user', 'true'],
    [
      'a broken form',
      { 'content-type': 'multipart/form-data; boundary=x' },
      { path: '/v1/audio/transcriptions', body: form('file') },
      400,
      undefined,
      'x-error-multipart-parsing',
      'true',
    ],
    [
      'a stream that is neither true nor false',
      {},
      { body: '{"model":"chat-m","messages":[],"stream":1}' },
      400,
      'invalid_type',
      'x-error-stream',
      'stream incorrectly set',
    ],
    ['an engine that hangs up', {}, { model: 'broken-m' }, 502, 'upstream_failed', 'x-error-response-unknown', 'true'],
  ];

  test.each(cases)('%s', async (_what, headers, more, status, code, marker, value) => {
    const answer = await ask(headers, more);
    expect([answer.status, ...told(answer, marker)]).toEqual([status, value]);
    if (code !== undefined) expect(answer.code).toBe(code);
    expect(answer.headers.get('request-id')).not.toBeNull();
    if (status === 503) expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
  });

  test('a path that is none is 501', async () => {
    expect((await ask({}, { path: '/v1/nothing' })).status).toBe(501);
  });

  test('requestsPerSecond of a profile', async () => {
    const answers = await Promise.all([1, 2, 3].map(() => ask({ 'config-profile': 'one' })));
    const over = answers.find(({ status }) => status === 429)!;
    expect([over.code, ...told(over, 'x-error-model-rps-exceeded')]).toEqual(['model_rps_exceeded', 'true']);
    expect(Number(over.headers.get('retry-after'))).toBeGreaterThan(0);
  });
});

describe("AIBrix's users", () => {
  /** A minute may end between two requests, and a limit then begins anew. */
  async function untilRefused(user: string): Promise<Answer> {
    for (let turn = 0; turn < 12; turn++) {
      const answer = await ask({ user });
      if (answer.status === 429) return answer;
      expect(answer.status).toBe(200);
      for (const name of ['x-update-rpm', 'x-update-tpm']) expect(Number(answer.headers.get(name))).toBeGreaterThan(0);
    }
    throw new Error('never refused');
  }

  test('are made by who has the admin key, and held to requests and tokens a minute', async () => {
    expect(await users('CreateUser', { name: 'ann', rpm: 3, tpm: 50_000 }, 'guess')).toBe(401);
    expect(await users('CreateUser', { name: 'ann', rpm: 3, tpm: 50_000 })).toBe(200);
    expect(await users('CreateUser', { name: 'bob', rpm: 1_000, tpm: 130 })).toBe(200);
    // Whose tokens are limited must have a stream of chat tell its usage; who has the default need not.
    expect(await users('CreateUser', { name: 'cid', rpm: 10, tpm: 0 })).toBe(200);
    const streamed = (more: object = {}): string =>
      JSON.stringify({
        model: 'chat-m',
        messages: [{ role: 'user', content: 'hi' }],
        stream: true,
        max_tokens: 5,
        ...more,
      });
    const silent = await ask({ user: 'ann' }, { body: streamed() });
    expect([silent.status, silent.code, ...told(silent, 'x-error-no-stream-options-include-usage')]).toEqual([
      400,
      'stream_usage_required',
      'include usage for stream options not set',
    ]);
    expect((await ask({ user: 'ann' }, { body: streamed({ stream_options: { include_usage: true } }) })).status).toBe(
      200,
    );
    expect((await ask({ user: 'cid' }, { body: streamed() })).status).toBe(200);
    const requests = await untilRefused('ann');
    expect(told(requests, 'x-error-rpm-exceeded', 'x-error-tpm-exceeded')).toEqual(['true', null]);
    const tokens = await untilRefused('bob');
    expect(told(tokens, 'x-error-rpm-exceeded', 'x-error-tpm-exceeded')).toEqual([null, 'true']);
    for (const { headers } of [requests, tokens]) expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await users('UpdateUser', { name: 'ann', rpm: 1_000, tpm: 50_000 })).toBe(200);
    expect(await users('ReadUser', { name: 'ann' })).toBe(200);
    expect(await users('DeleteUser', { name: 'bob' })).toBe(200);
    await eventually(async () => expect((await ask({ user: 'bob' })).status).toBe(401));
  });
});
