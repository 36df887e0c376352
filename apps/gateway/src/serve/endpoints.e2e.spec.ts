import { afterEach, describe, expect, test } from '@jest/globals';
import { create } from '@bufbuild/protobuf';
import OpenAI from 'openai';
import { route, tenancy } from '#libs/contracts';
import { hashApiKey } from '#libs/domain/tenancy';
import { targetOf } from './endpoints.ts';
import type { TestGateway } from './serve.fixture.ts';
import { closeAll, engine, errorOf, gateway, post, rawEngine, recordedAnswer } from './serve.fixture.ts';

const { Outcome } = route;

afterEach(closeAll);

interface Asked {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
}

/** Answers what a real engine was recorded to answer, whole or as a stream of many small pieces. */
const playing = (name: string, asked: Asked[] = []): Promise<string> =>
  engine((body, response, { method, url, headers }) => {
    asked.push({ method, url, headers, body });
    const text = recordedAnswer(name);
    const stream = name.endsWith('-stream');
    response.writeHead(200, { 'content-type': stream ? 'text/event-stream; charset=utf-8' : 'application/json' });
    if (!stream) response.end(text);
    else {
      for (let at = 0; at < text.length; at += 97) response.write(text.slice(at, at + 97));
      response.end();
    }
  });

function issue({ state }: TestGateway, key: string, tenantId: string): void {
  const keyHash = hashApiKey(key);
  const issued = create(tenancy.KeyIssuedSchema, { tenantId, keyId: `id-${key}`, keyHash });
  state.tenancy.keysByHash.set(keyHash, [{ key: issued, revoked: undefined }]);
}

describe('every endpoint', () => {
  test.each([
    ['/v1/rerank', { query: 'q', documents: ['a'] }],
    ['/rerank', { query: 'q', documents: ['a'] }],
    ['/v2/rerank', { query: 'q', documents: ['a'] }],
    ['/v1/score', { text_1: 'a', text_2: ['b'] }],
    ['/score', { text_1: 'a', text_2: ['b'] }],
    ['/v1/classify', { input: 'a' }],
    ['/classify', { input: 'a' }],
    ['/v1/moderations', { input: 'a' }],
    ['/pooling', { input: 'a' }],
    ['/tokenize', { prompt: 'a' }],
    ['/detokenize', { tokens: [1] }],
    ['/v1/images/generations', { prompt: 'a' }],
    ['/v1/video/generations', { prompt: 'a' }],
    ['/v1/audio/speech', { input: 'a', voice: 'v' }],
    ['/v1/messages/count_tokens', { messages: [] }],
  ])('%s passes path, query and bytes both ways, and is recorded by its path', async (path, fields) => {
    const asked: Asked[] = [];
    const bytes = Buffer.from([0, 255, 13, 10, 1]);
    const lintel = await gateway([
      await engine((body, response, { method, url, headers }) => {
        asked.push({ method, url, headers, body });
        response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': bytes.length });
        response.end(bytes);
      }),
    ]);
    const body = JSON.stringify({ model: 'tiny', ...fields, strange: [1.0, 'é'] });
    const response = await post(lintel, body, {}, `${path}?a=b`);
    expect([response.status, response.headers.get('x-lintel-outcome')]).toEqual([200, 'completed']);
    expect(Buffer.from(await response.arrayBuffer())).toEqual(bytes);
    expect(asked).toMatchObject([{ method: 'POST', url: `${path}?a=b`, body }]);
    expect(await lintel.record()).toMatchObject({ endpoint: path, model: 'tiny', outcome: Outcome.COMPLETED });
  });

  test('a body without model means the only one where its engines would take it so, and is refused elsewhere', async () => {
    const lintel = await gateway([await playing('tokenize-prompt')]);
    expect((await post(lintel, '{"prompt":"x"}', {}, '/tokenize')).status).toBe(200);
    expect(await lintel.record()).toMatchObject({ model: 'tiny' });
    expect((await errorOf(await post(lintel, '{"input":"x"}', {}, '/v1/responses'))).code).toBe('missing_model');
    lintel.fleet.served.push({ id: 'other', parent: undefined, maxModelLen: undefined });
    const response = await post(lintel, '{"prompt":"x"}', {}, '/tokenize');
    expect([response.status, (await errorOf(response)).code]).toEqual([400, 'missing_model']);
  });

  test.each([
    ['/v1/responses/resp_1/cancel/x', 'other'],
    ['/v1/responses/', 'other'],
    ['/v1/responses/a%2fb', 'other'],
    ['/v1/responses/..', 'other'],
    [`/v1/responses/${'a'.repeat(257)}`, 'other'],
    ['/v1/responses/resp_1', '/v1/responses/{id}'],
    ['/v1/responses/resp_1/cancel?x=1', '/v1/responses/{id}/cancel'],
  ])('%s is %s', (url, path) => {
    expect(targetOf(url)?.endpoint.path).toBe(path);
  });

  test('prompts that engines do not keep are not taken for cached, and those that they keep are', async () => {
    const lintel = await gateway([await playing('messages-plain')]);
    const long = 'x'.repeat(4000);
    const headers = { 'routing-strategy': 'prefix-cache' };
    await post(lintel, JSON.stringify({ model: 'tiny', prompt: long }), headers, '/tokenize');
    await post(
      lintel,
      JSON.stringify({ model: 'tiny', system: long, max_tokens: 5, messages: [{ role: 'user', content: 'a' }] }),
      headers,
      '/v1/messages',
    );
    expect(lintel.records[0]!.features?.prefixBlocks).toBe(0);
    expect(lintel.records[1]!.features?.prefixBlocks).toBeGreaterThan(5);
    expect(lintel.records[1]!.features).toMatchObject({ maxTokens: 5 });
    expect(lintel.records[1]!.features!.promptTokens).toBeGreaterThan(1000);
  });
});

describe('usage is read from', () => {
  test.each([
    ['/v1/responses', 'responses-plain', 18, 8],
    ['/v1/responses', 'responses-stream', 18, 8],
    ['/v1/messages', 'messages-plain', 18, 8],
    ['/v1/messages', 'messages-stream', 18, 8],
    ['/v1/embeddings', 'embeddings', 3, 0],
  ])('%s as vLLM told it in %s', async (path, name, promptTokens, completionTokens) => {
    const lintel = await gateway([await playing(name)]);
    const response = await post(lintel, JSON.stringify({ model: 'tiny', input: 'x', stream: true }), {}, path);
    expect(await response.text()).toBe(recordedAnswer(name));
    const record = await lintel.record();
    expect(record.usage).toEqual({ promptTokens, completionTokens, cachedTokens: 0, fromEngine: true });
    if (name.endsWith('-stream')) expect(record.timings!.tokenGaps).toBeGreaterThan(0);
  });

  test.each([
    ['Anthropic’s cache', { input_tokens: 5, output_tokens: 2, cache_read_input_tokens: 30 }, [35, 2, 30]],
    ['responses’ cache', { input_tokens: 9, output_tokens: 1, input_tokens_details: { cached_tokens: 4 } }, [9, 1, 4]],
    ['a total alone', { total_tokens: 7 }, [7, 0, 0]],
  ])('%s', async (_name, usage, [promptTokens, completionTokens, cachedTokens]) => {
    const lintel = await gateway([await engine((_body, response) => response.end(JSON.stringify({ usage })))]);
    await (await post(lintel, '{"model":"tiny"}', {}, '/v1/rerank')).text();
    expect((await lintel.record()).usage).toEqual({ promptTokens, completionTokens, cachedTokens, fromEngine: true });
  });

  test('no answer that counts seconds', async () => {
    const body = '{"usage":{"type":"duration","seconds":3}}';
    const lintel = await gateway([await engine((_body, response) => response.end(body))]);
    await (await post(lintel, '{"model":"tiny","input":"x"}', {}, '/v1/audio/speech')).text();
    expect((await lintel.record()).usage).toBeUndefined();
  });
});

describe('responses', () => {
  /** Two replicas that each know only their own responses, and say so as vLLM does. */
  async function pair(more: Parameters<typeof gateway>[1] = {}) {
    const made: string[][] = [[], []];
    const asked: string[] = [];
    const replica = (own: number) =>
      engine((body, response, { url, method }) => {
        const id = /^\/v1\/responses\/([^/?]+)/.exec(url ?? '')?.[1];
        const before = id ?? (JSON.parse(body) as { previous_response_id?: string }).previous_response_id;
        asked.push(`${own} ${method} ${url}`);
        response.setHeader('content-type', 'application/json');
        if (before !== undefined && !made[own]!.includes(before)) {
          response.writeHead(404).end(recordedAnswer('responses-get-unknown'));
          return;
        }
        const answer = id ?? `resp_${own}_${made[own]!.length}`;
        if (id === undefined) made[own]!.push(answer);
        response.end(JSON.stringify({ object: 'response', id: answer, output: [{ id: 'msg_1' }] }));
      });
    const lintel = await gateway([await replica(0), await replica(1)], more);
    const ask = async (body: Record<string, unknown>, headers = {}) => {
      const response = await post(
        lintel,
        JSON.stringify({ model: 'tiny', input: 'x', ...body }),
        headers,
        '/v1/responses',
      );
      return { status: response.status, id: ((await response.json()) as { id: string }).id };
    };
    const call = (path: string, method = 'GET', headers = {}) => fetch(`${lintel.url}${path}`, { method, headers });
    return { lintel, ask, call, asked };
  }

  test('are continued, read, cancelled and deleted where they are held', async () => {
    const { lintel, ask, call, asked } = await pair();
    for (let round = 0; round < 6; round++) {
      const { id } = await ask({}, { 'routing-strategy': 'round-robin' });
      const holder = Number(id.split('_')[1]);
      for (let turn = 0; turn < 3; turn++) expect((await ask({ previous_response_id: id })).status).toBe(200);
      expect((await call(`/v1/responses/${id}`)).status).toBe(200);
      expect((await call(`/v1/responses/${id}/cancel`, 'POST')).status).toBe(200);
      expect((await call(`/v1/responses/${id}?a=1`, 'DELETE')).status).toBe(200);
      expect(asked.splice(-3)).toEqual([
        `${holder} GET /v1/responses/${id}`,
        `${holder} POST /v1/responses/${id}/cancel`,
        `${holder} DELETE /v1/responses/${id}?a=1`,
      ]);
    }
    expect(new Set(asked.map(([own]) => own)).size).toBe(2);
    expect(lintel.records.at(-1)).toMatchObject({ endpoint: '/v1/responses/{id}', model: 'tiny' });
  });

  test('of a stream are known as soon as their id has passed', async () => {
    const { lintel, asked } = await pair();
    const { id } = JSON.parse(/data: (.*)/.exec(recordedAnswer('responses-stream'))![1]!).response as { id: string };
    const streaming = await playing('responses-stream');
    const other = lintel.fleet.replicas[0]!;
    const { FakeReplica } = await import('./serve.fixture.ts');
    lintel.fleet.replicas = [new FakeReplica('streams', streaming)];
    await (await post(lintel, '{"model":"tiny","input":"x","stream":true}', {}, '/v1/responses')).text();
    lintel.fleet.replicas.push(other);
    for (let turn = 0; turn < 4; turn++) {
      const response = await fetch(`${lintel.url}/v1/responses/${id}`);
      expect(response.headers.get('target-pod')).toBe('streams');
      await response.text();
    }
    expect(asked).toEqual([]);
  });

  test('that nobody here heard of are the engines’ to say', async () => {
    const { call, ask } = await pair();
    const response = await call('/v1/responses/resp_unknown');
    expect([response.status, await response.text()]).toEqual([404, recordedAnswer('responses-get-unknown')]);
    expect((await ask({ previous_response_id: 'resp_unknown' })).status).toBe(404);
  });

  test('of one tenant are none for another', async () => {
    const { lintel, ask, call } = await pair({ open: false });
    issue(lintel, 'a', 'acme');
    issue(lintel, 'b', 'bolt');
    const { id } = await ask({}, { authorization: 'Bearer a' });
    expect((await call(`/v1/responses/${id}`, 'GET', { authorization: 'Bearer a' })).status).toBe(200);
    const stolen = await call(`/v1/responses/${id}`, 'GET', { authorization: 'Bearer b' });
    expect([stolen.status, (await errorOf(stolen)).code]).toEqual([404, 'response_not_found']);
    expect((await ask({ previous_response_id: id }, { authorization: 'Bearer b' })).status).toBe(404);
    expect((await call(`/v1/responses/${id}`)).status).toBe(401);
  });

  test('whose replica takes no requests are answered by nobody else', async () => {
    const { lintel, ask, call } = await pair();
    const { id } = await ask({});
    lintel.fleet.replicas.find((replica) => replica.id === `r${Number(id.split('_')[1]) + 1}`)!.state = 'circuit-open';
    const response = await call(`/v1/responses/${id}`);
    expect([response.status, (await errorOf(response)).code]).toEqual([503, 'no_ready_replica']);
  });

  test('take only the methods that there are', async () => {
    const { call } = await pair();
    const response = await call('/v1/responses/resp_1', 'PUT');
    expect([response.status, response.headers.get('allow')]).toEqual([405, 'GET, DELETE']);
  });

  test('work with the official client, streamed and not', async () => {
    const lintel = await gateway([await playing('responses-stream')]);
    const client = new OpenAI({ baseURL: `${lintel.url}/v1`, apiKey: 'any', maxRetries: 0 });
    let text = '';
    for await (const event of await client.responses.create({ model: 'tiny', input: 'x', stream: true })) {
      if (event.type === 'response.output_text.delta') text += event.delta;
    }
    expect(text).toBe('< noimxinsw m up');
    const { ask: _ask, lintel: whole } = await pair();
    const sdk = new OpenAI({ baseURL: `${whole.url}/v1`, apiKey: 'any', maxRetries: 0 });
    const first = await sdk.responses.create({ model: 'tiny', input: 'x' });
    expect((await sdk.responses.retrieve(first.id)).id).toBe(first.id);
    await sdk.responses.cancel(first.id);
    await sdk.responses.delete(first.id);
  });

  test('that break tell it as an event the client raises', async () => {
    const [head] = recordedAnswer('responses-stream').split('event: response.completed');
    const lintel = await gateway([
      await rawEngine((socket) => {
        socket.end(
          `HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n${head!.length.toString(16)}\r\n${head}\r\n`,
        );
      }),
    ]);
    const client = new OpenAI({ baseURL: `${lintel.url}/v1`, apiKey: 'any', maxRetries: 0 });
    const types: string[] = [];
    const reading = (async () => {
      for await (const event of await client.responses.create({ model: 'tiny', input: 'x', stream: true }))
        types.push(event.type);
    })();
    await reading.catch(() => types.push('thrown'));
    expect(types.slice(-1)[0]).toMatch(/^(error|thrown)$/);
    expect((await lintel.record()).outcome).toBe(Outcome.UPSTREAM_BROKEN);
  });
});

describe('messages', () => {
  test('come with x-api-key, which no engine gets to see', async () => {
    const asked: Asked[] = [];
    const lintel = await gateway([await playing('messages-plain', asked)], { open: false });
    issue(lintel, 'good', 'acme');
    lintel.fleet.replicas[0]!.credential = 'of-the-engine';
    const body = '{"model":"tiny","max_tokens":8,"messages":[{"role":"user","content":"Hi"}]}';
    const good = await post(lintel, body, { 'x-api-key': 'good', 'anthropic-version': '2023-06-01' }, '/v1/messages');
    expect(good.status).toBe(200);
    expect(asked[0]!.headers).toMatchObject({
      authorization: 'Bearer of-the-engine',
      'anthropic-version': '2023-06-01',
    });
    expect(asked[0]!.headers).not.toHaveProperty('x-api-key');
    expect((await post(lintel, body, { authorization: 'Bearer good' }, '/v1/messages')).status).toBe(200);
    // Elsewhere x-api-key is nobody's key, and a wrong one is not made good by another header.
    expect((await post(lintel, body, { 'x-api-key': 'good' })).status).toBe(401);
    const both = await post(lintel, body, { 'x-api-key': 'bad', authorization: 'Bearer good' }, '/v1/messages');
    expect(both.status).toBe(401);
  });

  test.each([
    ['no key', {}, {}, 401, 'authentication_error', 'rejected_auth'],
    ['unknown model', { model: 'nope' }, { 'x-api-key': 'good' }, 404, 'not_found_error', 'rejected_model'],
    ['bad body', { model: 1 }, { 'x-api-key': 'good' }, 400, 'invalid_request_error', 'rejected_bad_request'],
  ])('are refused in Anthropic’s shape: %s', async (_name, body, headers, status, type, outcome) => {
    const lintel = await gateway([await playing('messages-plain')], { open: false });
    issue(lintel, 'good', 'acme');
    const response = await post(lintel, JSON.stringify(body), headers as Record<string, string>, '/v1/messages');
    expect([response.status, response.headers.get('x-lintel-outcome')]).toEqual([status, outcome]);
    expect(await response.json()).toEqual({
      type: 'error',
      error: { type, message: expect.any(String) },
      request_id: response.headers.get('x-lintel-request-id'),
    });
  });

  test('that break end with an error event of Anthropic’s', async () => {
    const [head] = recordedAnswer('messages-stream').split('event: message_delta');
    const lintel = await gateway([
      await rawEngine((socket) => {
        socket.end(
          `HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n${head!.length.toString(16)}\r\n${head}\r\n`,
        );
      }),
    ]);
    const text = await (await post(lintel, '{"model":"tiny","messages":[]}', {}, '/v1/messages')).text();
    const last = text.trimEnd().split('\n\n').at(-1)!.trim();
    expect(last).toMatch(/^event: error\ndata: /);
    expect(JSON.parse(last.split('data: ')[1]!)).toMatchObject({ type: 'error', error: { type: 'api_error' } });
    expect((await lintel.record()).usage).toMatchObject({ promptTokens: 18, fromEngine: true });
  });
});
