import { connect } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { create } from '@bufbuild/protobuf';
import { route, tenancy } from '#libs/contracts';
import { hashApiKey } from '#libs/domain/tenancy';
import { eventually } from '#libs/testkit';
import { closeAll, deadOrigin, engine, gateway, rawExchange } from '../serve/serve.fixture.ts';
import type { TestGateway } from '../serve/serve.fixture.ts';
import { websocketEngine } from './websocket-engine.fixture.ts';

const { AttemptEnd, Outcome } = route;

afterEach(closeAll);

interface Client {
  readonly socket: WebSocket;
  readonly messages: string[];
  readonly closed: Promise<{ code: number; reason: string }>;
  next(count?: number): Promise<string[]>;
}

/** Node's own WebSocket client. */
async function open(lintel: TestGateway, query = '?model=tiny', protocols: string[] = []): Promise<Client> {
  const socket = new WebSocket(`ws://127.0.0.1:${lintel.port}/v1/realtime${query}`, protocols);
  socket.binaryType = 'arraybuffer';
  const messages: string[] = [];
  socket.addEventListener('message', ({ data }) =>
    messages.push(typeof data === 'string' ? data : `${(data as ArrayBuffer).byteLength} bytes`),
  );
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.addEventListener('close', ({ code, reason }) => resolve({ code, reason }));
  });
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener('open', () => resolve());
    socket.addEventListener('error', () => reject(new Error('no session')));
  });
  const next = async (count = 1): Promise<string[]> => {
    await eventually(() => expect(messages.length).toBeGreaterThanOrEqual(count));
    return messages;
  };
  return { socket, messages, closed, next };
}

function issueKey({ state }: TestGateway, key: string, more: { models?: string[] } = {}): void {
  const keyHash = hashApiKey(key);
  const issued = create(tenancy.KeyIssuedSchema, { tenantId: 'acme', keyId: `id-${key}`, keyHash, ...more });
  state.tenancy.keysByHash.set(keyHash, [{ key: issued, revoked: undefined }]);
}

const upgradeText = (path: string, headers = ''): string =>
  `GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n` +
  `sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n${headers}\r\n`;

describe('A realtime session', () => {
  test('goes both ways, text and bytes, small and large, and is recorded', async () => {
    const { origin, sessions } = await websocketEngine((session, message) => {
      if (message === 'bytes') session.send(Buffer.alloc(100_000));
      else session.send(message);
    });
    const lintel = await gateway([origin]);
    const client = await open(lintel, '?model=tiny&intent=transcription', ['realtime', 'openai-beta.realtime-v1']);
    expect(client.socket.protocol).toBe('realtime');
    expect(lintel.plane.inflight).toBe(1);
    expect(lintel.fleet.replicas[0]!.inflight).toBe(1);
    client.socket.send('hello é');
    client.socket.send('bytes');
    const large = 'x'.repeat(300_000);
    client.socket.send(large);
    expect(await client.next(3)).toEqual(['hello é', '100000 bytes', large]);
    client.socket.close(1000, 'done');
    expect((await client.closed).code).toBe(1000);
    const record = await lintel.record();
    expect(record).toMatchObject({
      endpoint: '/v1/realtime',
      model: 'tiny',
      outcome: Outcome.COMPLETED,
      httpStatus: 101,
      stream: true,
      attempts: [{ replicaId: 'r1', end: AttemptEnd.ANSWERED, httpStatus: 101 }],
      tunnel: { messagesUp: 3, messagesDown: 3, closeCode: 1000 },
    });
    expect(record.tunnel!.bytesUp).toBeGreaterThan(300_000);
    expect(record.tunnel!.bytesDown).toBeGreaterThan(400_000);
    expect(record.timings!.totalMs).toBeGreaterThan(0);
    expect(record.picks).toHaveLength(1);
    expect(lintel.fleet.replicas[0]!.inflight).toBe(0);
    expect(lintel.plane.inflight).toBe(0);
    const { request } = sessions[0]!;
    expect(request.url).toBe('/v1/realtime?model=tiny&intent=transcription');
    expect(request.headers['x-request-id']).toBe(record.requestId);
    expect(request.headers['sec-websocket-extensions']).toBeUndefined();
  });

  test('tells usage by its responses, summed', async () => {
    const usage = (input: number, output: number): string =>
      JSON.stringify({
        event_id: 'event_1',
        type: 'response.done',
        response: {
          usage: { input_tokens: input, output_tokens: output, input_token_details: { cached_tokens: 3 } },
        },
      });
    const { origin } = await websocketEngine((session) => {
      session.send('{"type":"response.output_text.delta","delta":"\\"type\\":\\"response.done\\""}');
      session.send(usage(10, 4));
      session.send(usage(20, 5));
      session.send('{"type":"transcription.done","text":"…","usage":{"prompt_tokens":1,"completion_tokens":2}}');
    });
    const lintel = await gateway([origin]);
    const client = await open(lintel);
    client.socket.send('go');
    await client.next(4);
    client.socket.close();
    const { usage: told } = await lintel.record();
    expect(told).toEqual({ promptTokens: 31, completionTokens: 11, cachedTokens: 6, fromEngine: true });
  });

  describe('asks for a key', () => {
    test.each([
      ['a subprotocol', '?model=tiny', ['realtime', 'openai-insecure-api-key.sesame']],
      ['the query', '?api-key=sesame&model=tiny', ['realtime']],
    ])('in %s, which the engine never sees', async (_where, query, protocols) => {
      const { origin, sessions } = await websocketEngine();
      const lintel = await gateway([origin], { open: false });
      issueKey(lintel, 'sesame');
      lintel.fleet.replicas[0]!.credential = 'engine-key';
      const client = await open(lintel, query, protocols);
      expect(client.socket.protocol).toBe('realtime');
      client.socket.close();
      expect(await lintel.record()).toMatchObject({ tenantId: 'acme', keyId: 'id-sesame', outcome: Outcome.COMPLETED });
      const { request } = sessions[0]!;
      expect(JSON.stringify([request.url, request.rawHeaders])).not.toContain('sesame');
      expect(request.headers).toMatchObject({
        authorization: 'Bearer engine-key',
        'sec-websocket-protocol': 'realtime',
      });
      expect(request.url).toBe('/v1/realtime?model=tiny');
    });

    test.each([
      ['none', '/v1/realtime?model=tiny', '', 401, 'missing_api_key'],
      ['an unknown one', '/v1/realtime?model=tiny', 'authorization: Bearer nope\r\n', 401, 'invalid_api_key'],
      ['two', '/v1/realtime?model=tiny&api-key=sesame', 'authorization: Bearer nope\r\n', 400, 'ambiguous_handshake'],
      [
        'another model than it may',
        '/v1/realtime?model=tiny',
        'authorization: Bearer other\r\n',
        403,
        'model_not_allowed',
      ],
      ['a model that is none', '/v1/realtime?model=nope', 'authorization: Bearer sesame\r\n', 404, 'model_not_found'],
      ['two models', '/v1/realtime?model=tiny&model=x', 'authorization: Bearer sesame\r\n', 400, 'ambiguous_handshake'],
    ])('and with %s is refused, and recorded', async (_what, path, headers, status, code) => {
      const { origin, sessions } = await websocketEngine();
      const lintel = await gateway([origin], { open: false });
      issueKey(lintel, 'sesame');
      issueKey(lintel, 'other', { models: ['else'] });
      const answer = await rawExchange(lintel.port, [upgradeText(path, headers)]);
      expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
      expect(answer).toContain(`"code":"${code}"`);
      const record = await lintel.record();
      expect(record).toMatchObject({ httpStatus: status, errorCode: code, attempts: [] });
      expect(answer).toContain(`x-lintel-request-id: ${record.requestId}`);
      expect(sessions).toEqual([]);
      expect(lintel.plane.inflight).toBe(0);
    });
  });

  test('without an upgrade is told to upgrade, and an upgrade to something else is answered in HTTP', async () => {
    const lintel = await gateway([await engine((_body, response) => response.end('{}'))]);
    const plain = await fetch(`${lintel.url}/v1/realtime?model=tiny`);
    expect([plain.status, plain.headers.get('upgrade')]).toEqual([426, 'websocket']);
    const h2c = await rawExchange(lintel.port, [
      'GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n',
    ]);
    expect(h2c).toMatch(/^HTTP\/1\.1 200 /);
    const bad = await rawExchange(lintel.port, [
      upgradeText('/v1/realtime?model=tiny').replace('version: 13', 'version: 8'),
    ]);
    expect(bad).toMatch(/^HTTP\/1\.1 426 /);
  });

  test('goes to the next replica where one does not listen, is overloaded, or answers what is no WebSocket', async () => {
    const { origin } = await websocketEngine();
    const busy = await websocketEngine(undefined, {
      refuse: (_request, socket) => {
        socket.end('HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n');
        return true;
      },
    });
    const odd = await websocketEngine(undefined, {
      refuse: (_request, socket) => {
        socket.write(
          'HTTP/1.1 101 Switching\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: x\r\n\r\n',
        );
        return true;
      },
    });
    for (const [bad, end] of [
      [await deadOrigin(), AttemptEnd.CONNECT_FAILED],
      [busy.origin, AttemptEnd.OVERLOADED],
      [odd.origin, AttemptEnd.BAD_ANSWER],
    ] as const) {
      const lintel = await gateway([bad, origin]);
      // One that has not answered yet is asked last.
      lintel.fleet.replicas[1]!.state = 'unknown';
      const client = await open(lintel);
      client.socket.send('hi');
      expect(await client.next()).toEqual(['hi']);
      client.socket.close();
      await client.closed;
      await eventually(() => expect(lintel.records).toHaveLength(1));
      expect(lintel.records[0]?.attempts.map((each) => each.end)).toEqual([end, AttemptEnd.ANSWERED]);
    }
  });

  test('gives the client what an engine itself says against it', async () => {
    const { origin } = await websocketEngine(undefined, {
      refuse: (_request, socket) => {
        socket.end('HTTP/1.1 403 No\r\ncontent-type: text/plain\r\ncontent-length: 6\r\n\r\nnot me');
        return true;
      },
    });
    const lintel = await gateway([origin]);
    const answer = await rawExchange(lintel.port, [upgradeText('/v1/realtime?model=tiny')]);
    expect(answer).toMatch(/^HTTP\/1\.1 403 [^]*not me$/);
    expect(await lintel.record()).toMatchObject({ httpStatus: 403, outcome: Outcome.UPSTREAM_ERROR });
    const none = await gateway([await engine((_body, response) => response.writeHead(404).end('{}'))]);
    expect(await rawExchange(none.port, [upgradeText('/v1/realtime')])).toMatch(/^HTTP\/1\.1 404 /);
  });

  test('that breaks at the engine is told so, by 1014, and blamed on it', async () => {
    const { origin } = await websocketEngine((session) => session.socket.destroy());
    const lintel = await gateway([origin]);
    const client = await open(lintel);
    client.socket.send('die');
    expect((await client.closed).code).toBe(1014);
    expect(await lintel.record()).toMatchObject({
      outcome: Outcome.UPSTREAM_BROKEN,
      errorCode: 'upstream_broken',
      attempts: [{ end: AttemptEnd.BROKEN_STREAM }],
    });
  });

  test('that the engine closes ends with its own code', async () => {
    const { origin } = await websocketEngine((session, message) => session.close(Number(message)));
    const lintel = await gateway([origin]);
    for (const code of [4001, 1011]) {
      const client = await open(lintel);
      client.socket.send(String(code));
      expect((await client.closed).code).toBe(code);
    }
    await eventually(() => expect(lintel.records).toHaveLength(2));
    expect(lintel.records.map(({ outcome }) => outcome)).toEqual([Outcome.COMPLETED, Outcome.UPSTREAM_BROKEN]);
  });

  test('whose client vanishes ends at the engine at once', async () => {
    const { origin, sessions } = await websocketEngine();
    const lintel = await gateway([origin]);
    const socket = connect(lintel.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write(upgradeText('/v1/realtime?model=tiny'));
    await eventually(() => expect(sessions).toHaveLength(1));
    const gone = new Promise((resolve) => sessions[0]!.socket.on('close', resolve));
    socket.destroy();
    await gone;
    expect(await lintel.record()).toMatchObject({
      outcome: Outcome.CLIENT_GONE,
      attempts: [{ end: AttemptEnd.CLIENT_GONE }],
    });
    expect(lintel.fleet.replicas[0]!.inflight).toBe(0);
  });

  test('slows the engine to the pace of a client that reads slowly', async () => {
    const { origin, sessions } = await websocketEngine();
    const lintel = await gateway([origin]);
    const socket = connect(lintel.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write(upgradeText('/v1/realtime?model=tiny'));
    await eventually(() => expect(sessions).toHaveLength(1));
    socket.pause();
    const [session] = sessions;
    const piece = Buffer.alloc(1024 * 1024);
    let written = 0;
    // What the kernel's buffers of two connections hold, and no more, is taken.
    while (session!.send(piece) || session!.socket.writableLength < 4 * piece.length) {
      written++;
      await new Promise((resolve) => setImmediate(resolve));
      if (written > 200) throw new Error('nobody slows the engine');
    }
    const waiting = session!.socket.writableLength;
    let got = 0;
    socket.on('data', (chunk: Buffer) => (got += chunk.length));
    socket.resume();
    await eventually(() => expect(session!.socket.writableLength).toBeLessThan(waiting));
    await eventually(() => expect(got).toBeGreaterThan(written * piece.length));
    socket.destroy();
    await lintel.record();
  });

  test.each([
    ['idle', { idleMsMax: 60 }, 1001, 'session_idle'],
    ['long', { sessionMsMax: 60 }, 1001, 'session_expired'],
  ])('that is %s ends, and both sides are told', async (_what, realtimeLimits, closeCode, code) => {
    const { origin, sessions } = await websocketEngine();
    const lintel = await gateway([origin], { realtimeLimits });
    const client = await open(lintel);
    expect((await client.closed).code).toBe(closeCode);
    expect(await lintel.record()).toMatchObject({
      outcome: Outcome.EVICTED_DEADLINE,
      errorCode: code,
      attempts: [{ end: AttemptEnd.CLIENT_GONE }],
      tunnel: { closeCode },
    });
    await eventually(() => expect(sessions[0]!.closeCode).toBe(closeCode));
  });

  test('whose engine does not answer the upgrade is tried elsewhere, then refused', async () => {
    const { origin } = await websocketEngine(undefined, { refuse: () => true });
    const lintel = await gateway([origin, origin], { realtimeLimits: { openMsMax: 50 } });
    expect(await rawExchange(lintel.port, [upgradeText('/v1/realtime?model=tiny')], 2000)).toMatch(/^HTTP\/1\.1 504 /);
    const { attempts } = await lintel.record();
    expect(attempts.map(({ end }) => end)).toEqual([AttemptEnd.TIMEOUT, AttemptEnd.TIMEOUT]);
  });

  test('over the most at once is refused', async () => {
    const { origin } = await websocketEngine();
    const lintel = await gateway([origin], { realtimeLimits: { sessionsMax: 1 } });
    const client = await open(lintel);
    expect(await rawExchange(lintel.port, [upgradeText('/v1/realtime')])).toContain('gateway_over_capacity');
    client.socket.close();
    await client.closed;
    await eventually(() => expect(lintel.plane.inflight).toBe(0));
    (await open(lintel)).socket.close();
  });

  test('lasts through a drain for as long as that waits, and is then told to connect again', async () => {
    const { origin } = await websocketEngine();
    const lintel = await gateway([origin]);
    const client = await open(lintel);
    const drained = lintel.plane.drain(150);
    client.socket.send('still here');
    expect(await client.next()).toEqual(['still here']);
    expect(await rawExchange(lintel.port, [upgradeText('/v1/realtime')])).toContain('gateway_draining');
    await drained;
    expect((await client.closed).code).toBe(1012);
    await eventually(() => expect(lintel.records.map(({ errorCode }) => errorCode)).toContain('gateway_stopped'));
  });
});
