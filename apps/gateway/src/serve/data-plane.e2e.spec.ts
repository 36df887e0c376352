import { connect } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import { eventually } from '#libs/testkit';
import { chat, closeAll, deadOrigin, engine, errorOf, gateway, post, rawEngine, sse, token } from './serve.fixture.ts';

const { AttemptEnd, Outcome } = route;

afterEach(closeAll);

const usage = { prompt_tokens: 11, completion_tokens: 2, prompt_tokens_details: { cached_tokens: 8 } };
const answer = JSON.stringify({ id: 'x', choices: [{ message: { content: 'Hi' } }], usage });
const stream = sse(
  { choices: [{ delta: { role: 'assistant', content: '' } }] },
  token('Hel'),
  token('lo'),
  { choices: [], usage },
  '[DONE]',
);

describe('a request', () => {
  test('L24 goes through untouched both ways, and its record says what was seen', async () => {
    const seen: { body: string; headers: Record<string, unknown> }[] = [];
    const origin = await engine((body, response, { headers }) => {
      seen.push({ body, headers });
      response.writeHead(200, { 'content-type': 'application/json', 'x-engine': 'yes' }).end(answer);
    });
    const lintel = await gateway([origin]);
    const body = `{"unknown":[1.0,1e2],  "model":"tiny","messages":[{"role":"user","content":"Hé\\u00e9"}],"max_tokens":5}`;
    const response = await post(lintel, body, {
      authorization: 'Bearer engine-key',
      'target-pod': 'evil',
      'x-lintel-secret': 'evil',
      'x-request-id': 'mine',
      'x-other': 'kept',
    });
    expect(await response.text()).toBe(answer);
    expect(response.status).toBe(200);
    const [{ body: sent, headers }] = seen as [(typeof seen)[0]];
    expect(sent).toBe(body);
    expect(headers).toMatchObject({
      authorization: 'Bearer engine-key',
      'x-request-id': 'mine',
      'x-other': 'kept',
      host: new URL(origin).host,
    });
    expect(Object.keys(headers).filter((name) => name === 'target-pod' || name.startsWith('x-lintel-'))).toEqual([]);
    const record = await lintel.record();
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'x-engine': 'yes',
      'request-id': record.requestId,
      'x-lintel-request-id': record.requestId,
      'routing-strategy': 'lintel',
      'target-pod': 'r1',
      'target-pod-ip': new URL(origin).host,
    });
    expect(record).toMatchObject({
      endpoint: '/v1/chat/completions',
      model: 'tiny',
      stream: false,
      outcome: Outcome.COMPLETED,
      httpStatus: 200,
      usage: { promptTokens: 11, completionTokens: 2, cachedTokens: 8, fromEngine: true },
      features: { bodyBytes: Buffer.byteLength(body), maxTokens: 5 },
      attempts: [{ replicaId: 'r1', pick: 0, end: AttemptEnd.ANSWERED, httpStatus: 200 }],
      picks: [{ replicaIds: ['r1'], chosen: 0 }],
      heads: { replicas: 7, policies: 7, tenants: 9 },
    });
    expect(record.timings!.totalMs).toBeGreaterThanOrEqual(record.timings!.firstByteMs);
    expect(lintel.fleet.replicas[0]).toMatchObject({ began: 1, inflight: 0, ends: [AttemptEnd.ANSWERED] });
  });

  test('streams as the engine does, with times and usage read on the way', async () => {
    const origin = await engine((_body, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
      const half = stream.length >> 1;
      response.write(stream.slice(0, half));
      setTimeout(() => response.end(stream.slice(half)), 20);
    });
    const lintel = await gateway([origin]);
    const response = await post(lintel, chat({ stream: true, stream_options: { include_usage: true } }));
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(await response.text()).toBe(stream);
    const record = await lintel.record();
    expect(record).toMatchObject({
      stream: true,
      outcome: Outcome.COMPLETED,
      usage: { promptTokens: 11, completionTokens: 2, cachedTokens: 8, fromEngine: true },
      timings: { tokenGaps: 1 },
    });
  });

  test('a stream without usage is counted by its tokens', async () => {
    const origin = await engine((_body, response) => {
      response
        .writeHead(200, { 'content-type': 'text/event-stream' })
        .end(sse(token('a'), token('b'), token('c'), '[DONE]'));
    });
    const lintel = await gateway([origin]);
    await (await post(lintel, chat({ stream: true }))).text();
    expect((await lintel.record()).usage).toMatchObject({ completionTokens: 3, fromEngine: false });
  });
});

describe('failover', () => {
  test('L25 before the first byte another replica answers, whatever the first one did', async () => {
    const good = await engine((_body, response) => response.writeHead(200).end(answer));
    const resets = await rawEngine((socket) => socket.destroy());
    const garbage = await rawEngine((socket) => socket.write('SSH-2.0-OpenSSH\r\n'));
    const overloaded = await engine((_body, response) => response.writeHead(503).end('busy'));
    const headThenDeath = await rawEngine((socket) => {
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n');
      setTimeout(() => socket.destroy(), 10);
    });
    const coreDied = await engine((_body, response) =>
      response.writeHead(500).end('{"error":{"message":"EngineCore encountered an issue. See stack trace"}}'),
    );
    const cases = [
      [coreDied, AttemptEnd.SERVER_ERROR],
      [await deadOrigin(), AttemptEnd.CONNECT_FAILED],
      [resets, AttemptEnd.RESET],
      [garbage, AttemptEnd.BAD_ANSWER],
      [overloaded, AttemptEnd.OVERLOADED],
      [headThenDeath, AttemptEnd.RESET],
    ] as const;
    for (const [bad, end] of cases) {
      const lintel = await gateway([bad, good]);
      // The first pick is the seed's; asked until the bad one was tried.
      await eventually(async () => {
        const response = await post(lintel, chat());
        expect([response.status, await response.text()]).toEqual([200, answer]);
        expect(lintel.fleet.replicas[0]!.ends).toContain(end);
      });
      const failed = lintel.records.find(({ attempts }) => attempts.length === 2)!;
      expect(failed.attempts.map(({ replicaId, pick }) => [replicaId, pick])).toEqual([
        ['r1', 0],
        ['r2', 1],
      ]);
      expect(failed.picks.map(({ replicaIds }) => replicaIds.length)).toEqual([2, 1]);
      expect(lintel.fleet.replicas.every(({ inflight }) => inflight === 0)).toBe(true);
    }
  });

  test('L25 after the first byte a stream ends with an error event, and another answer is cut', async () => {
    const origin = await engine((body, response) => {
      response.writeHead(200, { 'content-type': body.includes('"stream"') ? 'text/event-stream' : 'application/json' });
      response.write(sse(token('a')));
      setTimeout(() => response.destroy(), 10);
    });
    const lintel = await gateway([origin]);
    const text = await (await post(lintel, chat({ stream: true }))).text();
    expect(text.startsWith(sse(token('a')))).toBe(true);
    expect(JSON.parse(text.trim().split('\n').at(-1)!.slice(6))).toMatchObject({ error: { code: 'upstream_broken' } });
    const record = await lintel.record();
    expect(record).toMatchObject({ outcome: Outcome.UPSTREAM_BROKEN, attempts: [{ end: AttemptEnd.BROKEN_STREAM }] });
    await expect((async () => (await post(lintel, chat())).text())()).rejects.toThrow();
  });

  test('L29 all failed: a shaped error, each try recorded, each replica charged once', async () => {
    const lintel = await gateway([await deadOrigin(), await deadOrigin(), await deadOrigin(), await deadOrigin()]);
    const response = await post(lintel, chat());
    expect(response.status).toBe(502);
    expect((await errorOf(response)).code).toBe('upstream_failed');
    const record = await lintel.record();
    expect(record.outcome).toBe(Outcome.UPSTREAM_FAILED);
    expect(record.attempts).toHaveLength(3);
    expect(lintel.fleet.replicas.flatMap(({ ends }) => ends)).toEqual([2, 2, 2]);
  });

  test("the engine's own 4xx, 429 and 500 are its word to the client", async () => {
    const origin = await engine((body, response) => {
      response.writeHead(Number(JSON.parse(body).n), { 'content-type': 'application/json' }).end('{"error":{}}');
    });
    const lintel = await gateway([origin, origin]);
    for (const status of [400, 404, 429, 500]) {
      const response = await post(lintel, chat({ n: status }));
      expect([response.status, await response.text()]).toEqual([status, '{"error":{}}']);
    }
    await eventually(() => expect(lintel.records).toHaveLength(4));
    expect(
      lintel.records.every(({ outcome, attempts }) => outcome === Outcome.UPSTREAM_ERROR && attempts.length === 1),
    ).toBe(true);
  });

  test('a kept connection that the engine has closed costs nothing', async () => {
    const origin = await rawEngine((socket, _data, connection) => {
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
      // Closes without a word as soon as the next request comes.
      if (connection === 0) socket.once('data', () => socket.destroy());
    });
    const lintel = await gateway([origin]);
    for (let turn = 0; turn < 3; turn++) expect(await (await post(lintel, chat())).text()).toBe('ok');
    expect(lintel.fleet.replicas[0]!.ends).toEqual([1, 1, 1]);
  });
});

test('L26 a client that leaves ends the request at its engine at once', async () => {
  let gone = 0;
  const origin = await engine((_body, response, request) => {
    request.socket.on('close', () => gone++);
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(sse(token('a')));
  });
  const lintel = await gateway([origin]);
  const leaving = new AbortController();
  const response = await post(lintel, chat({ stream: true }), {}, '/v1/chat/completions', leaving.signal);
  await response.body!.getReader().read();
  leaving.abort();
  await eventually(() => expect(gone).toBe(1));
  expect(await lintel.record()).toMatchObject({
    outcome: Outcome.CLIENT_GONE,
    attempts: [{ end: AttemptEnd.CLIENT_GONE }],
  });
  expect(lintel.fleet.replicas[0]!.inflight).toBe(0);
});

test('connections to a replica that is gone are closed, and kept ones when they grow old', async () => {
  let open = 0;
  const origin = await engine((_body, response, { socket }) => {
    open++;
    socket.on('close', () => open--);
    response.writeHead(200).end(answer);
  });
  const gone = await gateway([origin]);
  await (await post(gone, chat())).text();
  expect(open).toBe(1);
  gone.fleet.replicas = [];
  await eventually(() => expect(open).toBe(0));
  const old = await gateway([origin], { limits: { upstreamKeepAliveMs: 40 } });
  await (await post(old, chat())).text();
  await eventually(() => expect(open).toBe(0));
  expect(old.fleet.replicas[0]!.ends).toEqual([AttemptEnd.ANSWERED]);
});

test('a client that leaves while its body is still coming has a record, and no replica heard of it', async () => {
  const lintel = await gateway([await deadOrigin()]);
  const socket = connect(lintel.port, '127.0.0.1');
  socket.write('POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"model"');
  await eventually(() => expect(lintel.plane.inflight).toBe(1));
  socket.destroy();
  expect(await lintel.record()).toMatchObject({ outcome: Outcome.CLIENT_GONE, attempts: [], picks: [] });
  expect(lintel.plane.inflight).toBe(0);
});
