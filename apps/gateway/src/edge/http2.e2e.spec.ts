import { connect, constants } from 'node:http2';
import type { ClientHttp2Session, ClientHttp2Stream, OutgoingHttpHeaders } from 'node:http2';
import { request as httpsRequest } from 'node:https';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTcp } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import OpenAI from 'openai';
import { Agent, fetch as undiciFetch } from 'undici';
import { route } from '#libs/contracts';
import { systemClock, systemEnvironment } from '#libs/kernel';
import type { EdgeConfig } from '#libs/nest-kit';
import { eventually } from '#libs/testkit';
import { selfMadeCertificate } from '../certificate.fixture.ts';
import { afterwards, chat, closeAll, engine, gateway, sse, token } from '../serve/serve.fixture.ts';
import type { TestGateway } from '../serve/serve.fixture.ts';
import type { Edge } from './index.ts';
import { startEdge } from './index.ts';
import { edgeLimits } from './limits.ts';

const { AttemptEnd, Outcome } = route;
const now = (): Date => new Date(systemClock.nowMs());
const one = selfMadeCertificate(now());
const two = selfMadeCertificate(now());
let folder: string;
const lines: string[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lintel-edge-'));
  lines.length = 0;
});
afterEach(async () => {
  await closeAll();
  await rm(folder, { recursive: true, force: true });
});

const file = (name: string): string => join(folder, name);
async function save({ cert, key }: { cert: string; key: string }): Promise<void> {
  await writeFile(file('tls.crt'), cert);
  await writeFile(file('tls.key'), key);
}
const tls = (more: object = {}): EdgeConfig => ({
  tls: { cert: file('tls.crt'), key: file('tls.key'), minVersion: '1.2', ...more },
});

async function edgeOf(config: EdgeConfig, requestMs = 10_000): Promise<Edge> {
  const edge = await startEdge({
    config,
    environment: systemEnvironment,
    say: (line) => void lines.push(line),
    idleMs: 10_000,
    requestMs,
  });
  afterwards(() => edge.tls?.stop());
  return edge;
}

async function secure(
  origins: readonly string[],
  more: object = {},
  requestMs?: number,
): Promise<TestGateway & { edge: Edge }> {
  await save(one);
  const edge = await edgeOf(tls(more), requestMs);
  return { ...(await gateway(origins, { edge })), edge };
}

function session(port: number, more: object = {}): ClientHttp2Session {
  const made = connect(`https://localhost:${port}`, { ca: one.cert, ...more });
  made.on('error', () => {});
  afterwards(() => made.destroy());
  return made;
}

const ask = (on: ClientHttp2Session, body: string | Buffer, headers: OutgoingHttpHeaders = {}): ClientHttp2Stream => {
  const stream = on.request({
    ':method': 'POST',
    ':path': '/v1/chat/completions',
    'content-type': 'application/json',
    ...headers,
  });
  stream.on('error', () => {});
  stream.end(body);
  return stream;
};

/** Status, headers and text of a stream; how it was closed. */
async function answerOf(
  stream: ClientHttp2Stream,
): Promise<{ status: number; headers: Record<string, unknown>; text: string; code: number }> {
  let headers: Record<string, unknown> = {};
  let text = '';
  stream.on('response', (got) => (headers = got));
  stream.on('data', (chunk: Buffer) => (text += chunk.toString()));
  await new Promise((resolve) => stream.on('close', resolve));
  return { status: Number(headers[':status']), headers, text, code: stream.rstCode ?? 0 };
}

const echo = (): Promise<string> =>
  engine((sent, response, request) =>
    response
      .writeHead(200, { 'set-cookie': ['a=1', 'b=2'] })
      .end(JSON.stringify({ sent: sent.length, headers: request.rawHeaders.join('|') })),
  );

describe('clients over TLS', () => {
  test('speak HTTP/1 where they do not ask for HTTP/2', async () => {
    const { port, record } = await secure([await echo()]);
    const status = await new Promise((resolve, reject) => {
      const sent = httpsRequest(
        { port, host: 'localhost', ca: one.cert, method: 'POST', path: '/v1/chat/completions' },
        (response) => resolve(response.resume().statusCode),
      );
      sent.on('error', reject);
      sent.end(chat());
    });
    expect(status).toBe(200);
    expect((await record()).outcome).toBe(Outcome.COMPLETED);
  });

  test('get a new certificate once its files are whole, and connections that stand go on', async () => {
    const lintel = await secure([await echo()]);
    const { edge, port } = lintel;
    const before = session(port);
    expect((await answerOf(ask(before, chat()))).status).toBe(200);
    const names = async (ca: string): Promise<string> =>
      await new Promise((resolve) => {
        const socket = connectTls({ port, host: 'localhost', ca }, () => {
          socket.destroy();
          resolve('trusted');
        });
        socket.on('error', (error) => resolve(error.message));
      });
    // Half of a certificate; then a whole one whose key is still the old one's.
    await writeFile(file('tls.crt'), two.cert.slice(0, 300));
    await eventually(
      () => expect(lines.join('\n')).toMatch(/refused, what was in force stays in force: .*ends inside/),
      6000,
    );
    await writeFile(file('tls.crt'), two.cert);
    await eventually(() => expect(lines.join('\n')).toMatch(/the key file does not fit/), 6000);
    expect(await names(one.cert)).toBe('trusted');
    expect(edge.tls?.reloads).toEqual({ applied: 0, refused: 2 });
    await writeFile(file('tls.key'), two.key);
    await eventually(async () => expect(await names(two.cert)).toBe('trusted'), 6000);
    expect(await names(one.cert)).toMatch(/self-signed/);
    expect(edge.tls?.reloads).toEqual({ applied: 1, refused: 2 });
    expect((await answerOf(ask(before, chat()))).status).toBe(200);
    // Each was told once; no key stands in what was told.
    expect(lines).toHaveLength(3);
    expect(lines.join('')).not.toContain('PRIVATE');
  });

  test('need a certificate of the named authority', async () => {
    await writeFile(join(folder, 'clients.pem'), two.cert);
    const { port } = await secure([await echo()], { clientCa: file('clients.pem') });
    expect((await answerOf(ask(session(port, two), chat()))).status).toBe(200);
    for (const wrong of [{}, one]) {
      const refused = session(port, wrong);
      await eventually(() => expect(refused.destroyed).toBe(true));
    }
  });

  test('of an older TLS are refused', async () => {
    const { port, edge } = await secure([await echo()], { minVersion: '1.3' });
    const failed = await new Promise((resolve) => {
      const socket = connectTls({ port, host: 'localhost', ca: one.cert, maxVersion: 'TLSv1.2' }, () => resolve(''));
      socket.on('error', (error) => resolve(error.message));
    });
    expect(failed).toMatch(/version/);
    await eventually(() => expect(edge.tls?.handshakes.failed).toBe(1));
  });

  test.each([
    ['no file', { cert: '/nowhere' }, 'FILE_UNREADABLE'],
    ['no certificate', { cert: 'tls.key' }, 'TLS_INVALID'],
    ['no key', { key: 'tls.crt' }, 'TLS_INVALID'],
  ])('%s: it does not start, and says so', async (_name, wrong, code) => {
    await save(one);
    const named = Object.fromEntries(
      Object.entries(wrong).map(([what, name]) => [what, name[0] === '/' ? name : file(name)]),
    );
    await expect(edgeOf(tls(named))).rejects.toMatchObject({ code });
  });
});

describe('HTTP/2', () => {
  test('goes through the same exchange: streams, headers, errors, and the rest of the port', async () => {
    const lintel = await secure([
      await engine((sent, response, request) => {
        if (!sent.includes('"stream":true')) {
          response.writeHead(200, { 'set-cookie': ['a=1', 'b=2'] }).end(request.rawHeaders.join('|'));
          return;
        }
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write(sse(token('a')));
        response.end(sse(token('b'), '[DONE]'));
      }),
    ]);
    const on = session(lintel.port);
    const whole = await answerOf(ask(on, chat(), { 'x-own': 'kept', 'x-lintel-forged': 'no' }));
    expect([whole.status, whole.headers['set-cookie']]).toEqual([200, ['a=1', 'b=2']]);
    expect(whole.text).toContain('x-own|kept');
    expect(whole.text).not.toMatch(/:path|:method|forged/);
    const streams = await Promise.all(Array.from({ length: 50 }, () => answerOf(ask(on, chat({ stream: true })))));
    expect(new Set(streams.map(({ text }) => text))).toEqual(new Set([sse(token('a'), token('b'), '[DONE]')]));
    const refused = await answerOf(ask(on, '{'));
    expect([refused.status, JSON.parse(refused.text)]).toMatchObject([400, { error: { code: 'invalid_json' } }]);
    const health = await answerOf(on.request({ ':path': '/health' }).end());
    expect(health.text).toBe('framework');
    await eventually(() => expect(lintel.plane.inflight).toBe(0));
    expect(lintel.records.filter(({ outcome }) => outcome === Outcome.COMPLETED)).toHaveLength(51);
  });

  test('a reset stream ends its request at the engine, and the others go on', async () => {
    let gone = 0;
    const lintel = await secure([
      await engine((_body, response, request) => {
        request.socket.on('close', () => gone++);
        response.writeHead(200, { 'content-type': 'text/event-stream' }).write(sse(token('a')));
      }),
    ]);
    const on = session(lintel.port);
    const [left, stays] = [ask(on, chat({ stream: true })), ask(on, chat({ stream: true }))];
    await Promise.all([left, stays].map((stream) => new Promise((resolve) => stream.once('data', resolve))));
    left.close(constants.NGHTTP2_CANCEL);
    await eventually(() => expect(gone).toBe(1));
    expect(await lintel.record()).toMatchObject({
      outcome: Outcome.CLIENT_GONE,
      attempts: [{ end: AttemptEnd.CLIENT_GONE }],
    });
    expect([stays.destroyed, lintel.plane.inflight]).toEqual([false, 1]);
  });

  test('an answer that breaks never looks whole', async () => {
    const lintel = await secure([
      await engine((_body, response) => {
        response.writeHead(200, { 'content-type': 'text/plain' }).write('half');
        setTimeout(() => response.destroy(), 50);
      }),
    ]);
    const { code, text } = await answerOf(ask(session(lintel.port), chat()));
    expect([text, code]).toEqual(['half', constants.NGHTTP2_INTERNAL_ERROR]);
    expect((await lintel.record()).outcome).toBe(Outcome.UPSTREAM_BROKEN);
  });

  test('a client that reads slowly holds its engine back', async () => {
    let sent = 0;
    const chunk = Buffer.alloc(64 * 1024, 'x');
    const lintel = await secure([
      await engine((_body, response) => {
        response.writeHead(200, { 'content-type': 'text/plain' });
        const more = (): void => {
          while (!response.destroyed && response.write(chunk)) sent += chunk.length;
          if (!response.destroyed) response.once('drain', more);
        };
        more();
      }),
    ]);
    const stream = ask(session(lintel.port), chat());
    await new Promise((resolve) => stream.once('response', resolve));
    let before = -1;
    await eventually(() => {
      const still = sent === before;
      before = sent;
      expect(still).toBe(true);
    }, 10_000);
    expect(sent).toBeLessThan(64 * 1024 * 1024);
    stream.close(constants.NGHTTP2_CANCEL);
    await eventually(() => expect(lintel.plane.inflight).toBe(0));
  });

  test('who resets streams as fast as they can is cut off', async () => {
    const lintel = await secure([await echo()]);
    const on = session(lintel.port);
    await new Promise((resolve) => on.once('remoteSettings', resolve));
    let sent = 0;
    const fromMs = systemClock.monotonicMs();
    while (!on.destroyed && sent < 3000) {
      for (let count = 0; count < 50 && !on.destroyed; count++, sent++) {
        ask(on, chat()).close(constants.NGHTTP2_CANCEL);
      }
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    await eventually(() => expect(lintel.edge.front?.http2Sessions).toBe(0));
    // What is allowed grows with the time that a busy machine takes for it; what stood in the connection's last reads comes on top.
    const { streamResetBurst, streamResetPerSecond } = edgeLimits;
    const allowed = streamResetBurst + (streamResetPerSecond * (systemClock.monotonicMs() - fromMs)) / 1000;
    expect(lintel.records.length).toBeLessThan(allowed + 300);
    expect(lintel.records.length).toBeLessThan(3000);
    await eventually(() => expect(lintel.plane.inflight).toBe(0));
    expect((await answerOf(ask(session(lintel.port), chat()))).status).toBe(200);
  });

  test.each([
    ['many headers', Object.fromEntries(Array.from({ length: 300 }, (_, at) => [`x-${at}`, 'y']))],
    ['large headers', { x: 'y'.repeat(60_000) }],
  ])('%s end the stream or the connection, not the gateway', async (_name, headers) => {
    const lintel = await secure([await echo()]);
    const on = session(lintel.port);
    const { status } = await answerOf(ask(on, chat(), headers)).catch(() => ({ status: 0 }));
    expect(status).not.toBe(200);
    expect((await answerOf(ask(session(lintel.port), chat()))).status).toBe(200);
    expect(lintel.records.filter(({ outcome }) => outcome === Outcome.COMPLETED)).toHaveLength(1);
  });

  test.each([' HTTP/1.1\r\nx: y', '\r\nx: y', ' x', '\0'])(
    'a path that ends a line of HTTP/1 (%j) reaches no engine',
    async (more) => {
      let asked = 0;
      const lintel = await secure([
        await engine((_sent, response) => {
          asked++;
          response.end('x');
        }),
      ]);
      const on = session(lintel.port);
      const answer = await new Promise<{ status: number }>((resolve) => {
        try {
          void answerOf(ask(on, chat(), { ':path': `/v1/chat/completions?${more}` })).then(resolve);
        } catch {
          resolve({ status: 0 });
        }
      });
      expect(answer.status).not.toBe(200);
      expect(asked).toBe(0);
    },
  );

  test('without TLS only by option, on the port of HTTP/1', async () => {
    const lintel = await gateway([await echo()], { edge: await edgeOf({ http2: { tls: true, cleartext: true } }) });
    const on = connect(lintel.url);
    afterwards(() => on.destroy());
    expect((await answerOf(ask(on, chat()))).status).toBe(200);
    const over1 = await fetch(`${lintel.url}/v1/chat/completions`, { method: 'POST', body: chat() });
    expect(over1.status).toBe(200);
    // Bytes that come one by one are told apart all the same.
    const socket = connectTcp(lintel.port, '127.0.0.1');
    let got = '';
    socket.on('data', (data) => (got += data.toString()));
    for (const char of 'PRI /health HTTP/1.1\r\nhost: x\r\n\r\n') {
      socket.write(char);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await eventually(() => expect(got).toMatch(/^HTTP\/1\.1 [45]/));
    socket.destroy();
  });

  test("OpenAI's own client works over it, streams too", async () => {
    const lintel = await secure([
      await engine((sent, response) => {
        if (sent.includes('"stream":true')) {
          response.writeHead(200, { 'content-type': 'text/event-stream' });
          response.end(sse(token('a'), token('b'), '[DONE]'));
        } else
          response
            .writeHead(200, { 'content-type': 'application/json' })
            .end('{"choices":[{"message":{"content":"hi"}}]}');
      }),
    ]);
    const agent = new Agent({ allowH2: true, connect: { ca: one.cert } });
    afterwards(() => agent.destroy());
    const client = new OpenAI({
      apiKey: 'any',
      baseURL: `https://localhost:${lintel.port}/v1`,
      fetch: ((url: string, init: object) => undiciFetch(url, { ...init, dispatcher: agent })) as never,
    });
    const messages = [{ role: 'user', content: 'Hello' }] as const;
    const whole = await client.chat.completions.create({ model: 'tiny', messages: [...messages] });
    expect(whole.choices[0]?.message.content).toBe('hi');
    let text = '';
    for await (const chunk of await client.chat.completions.create({
      model: 'tiny',
      messages: [...messages],
      stream: true,
    })) {
      text += chunk.choices[0]?.delta.content ?? '';
    }
    expect(text).toBe('ab');
    await eventually(() => expect(lintel.edge.front?.http2Sessions).toBeGreaterThan(0));
  });
});

describe('a body over HTTP/2 that does not come in time', () => {
  const head = { ':method': 'POST', ':path': '/v1/chat/completions', 'content-type': 'application/json' };

  test('is answered 408, though bytes of it trickle in, and other streams of its connection go on', async () => {
    const { port, records, plane } = await secure([await echo()], {}, 400);
    const on = session(port);
    const slow = on.request(head);
    slow.on('error', () => {});
    const trickle = systemEnvironment.timers.every(20, () => void (slow.writable && slow.write('{')));
    afterwards(() => trickle.cancel());
    slow.write('{"model":"tiny",');
    const answer = await answerOf(slow);
    trickle.cancel();
    expect([answer.status, answer.code]).toEqual([408, constants.NGHTTP2_NO_ERROR]);
    expect(JSON.parse(answer.text)).toMatchObject({ error: { code: 'request_timeout' } });
    expect((await answerOf(ask(on, chat()))).status).toBe(200);
    await eventually(() => expect(records).toHaveLength(2));
    expect(records[0]).toMatchObject({ httpStatus: 408, outcome: Outcome.REJECTED_BAD_REQUEST, attempts: [] });
    expect(plane.inflight).toBe(0);
  });

  test('is cut where it is none of the data plane’s', async () => {
    const { port } = await secure([], {}, 200);
    const slow = session(port).request({ ...head, ':path': '/elsewhere/x' });
    slow.on('error', () => {});
    slow.write('{');
    slow.resume();
    const code = await new Promise((resolve) => slow.on('close', () => resolve(slow.rstCode)));
    expect([constants.NGHTTP2_NO_ERROR, constants.NGHTTP2_INTERNAL_ERROR]).toContain(code);
  });
});
