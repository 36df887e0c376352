import { connect } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import { eventually } from '#libs/testkit';
import { chat, closeAll, engine, errorOf, gateway, post, rawEngine, rawExchange, sse, token } from './serve.fixture.ts';

const { AttemptEnd, Outcome } = route;

afterEach(closeAll);

const body = chat();
const head = (more = '', length = Buffer.byteLength(body)): string =>
  `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: ${length}\r\n${more}\r\n`;
const echo = (): Promise<string> => engine((sent, response) => response.writeHead(200).end(`[${sent}]`));
const statusOf = (answer: string): number => Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1]);

/** Each answer in what came over a connection: status and body by its content-length. */
function answers(text: string): { status: number; body: string }[] {
  const out: { status: number; body: string }[] = [];
  for (let rest = text; rest !== '';) {
    const end = rest.indexOf('\r\n\r\n');
    if (end < 0) throw new Error(`no whole answer in ${JSON.stringify(rest)}`);
    const length = Number(/content-length: (\d+)/i.exec(rest.slice(0, end))?.[1]);
    out.push({ status: statusOf(rest), body: rest.slice(end + 4, end + 4 + length) });
    rest = rest.slice(end + 4 + length);
  }
  return out;
}

describe('requests that are no HTTP, or two kinds of it', () => {
  test.each([
    ['both lengths', head('transfer-encoding: chunked\r\n') + body, 400],
    ['two lengths', head('content-length: 3\r\n') + body, 400],
    ['a bad chunk', 'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n', 400],
    ['an unknown coding', 'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n', 400],
    ['a space before the colon', 'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length : 3\r\n\r\nabc', 400],
    ['bare line feeds', 'POST /v1/chat/completions HTTP/1.1\nhost: x\ncontent-length: 2\n\n{}', 400],
    ['garbage', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n', 400],
    ['headers too large', `GET /v1/models HTTP/1.1\r\nhost: x\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`, 431],
    ['an absolute form', 'GET http://other/v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n', 400],
    ['an asterisk', 'OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n', 400],
    ['two slashes', 'GET //v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n', 404],
    ['dots', 'GET /x/../v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n', 404],
    ['encoded dots', 'GET /v1/%2e%2e/admin HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n', 404],
    ['an unknown path', 'GET /v1/nope HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n', 404],
  ])('%s: a shaped error', async (_name, request, status) => {
    let asked = 0;
    const origin = await engine((_body, response) => {
      asked++;
      response.end('x');
    });
    const lintel = await gateway([origin]);
    const answer = await rawExchange(lintel.port, [request]);
    expect(statusOf(answer)).toBe(status);
    const { error } = JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4)) as {
      error: { message: string; code: string };
    };
    expect(error.code).toMatch(/^[a-z_]+$/);
    expect(error.message.length).toBeGreaterThan(10);
    expect(answer).toContain('x-lintel-request-id: ');
    expect(asked).toBe(0);
    expect(await lintel.record()).toMatchObject({ outcome: Outcome.REJECTED_BAD_REQUEST, httpStatus: status });
    // It serves on.
    expect((await post(lintel, chat())).status).toBe(200);
  });

  test('garbage behind an answer that is out already takes nobody down', async () => {
    const lintel = await gateway([await echo()]);
    const socket = connect(lintel.port, '127.0.0.1');
    socket.on('error', () => {});
    const closed = new Promise((resolve) => socket.on('close', resolve));
    let got = '';
    socket.on('data', (data) => {
      got += data.toString();
      if (got.includes('0\r\n\r\n')) socket.write('\x16\x03\x01 garbage\r\n\r\n');
    });
    socket.write(head() + body);
    await closed;
    expect(
      got
        .split('HTTP/1.1 ')
        .slice(1)
        .map((answer) => answer.slice(0, 3)),
    ).toEqual(['200', '400']);
    expect((await post(lintel, chat())).status).toBe(200);
  });

  test('paths of others are left to the framework', async () => {
    const lintel = await gateway([await echo()]);
    expect(await (await fetch(`${lintel.url}/health`)).text()).toBe('framework');
  });
});

describe('bodies', () => {
  test.each([
    ['{"model":"tiny","model":"other","messages":[]}', 400, 'duplicate_field'],
    ['{"model":"tiny","messages":[]} trailing', 400, 'invalid_json'],
    ['{"messages":[]}', 400, 'missing_model'],
    [`{"model":"tiny","x":"${'y'.repeat(2000)}"}`, 413, 'body_too_large'],
  ])('%.40s', async (sent, status, code) => {
    const lintel = await gateway([await echo()], { limits: { bodyBytesMax: 1000 } });
    const response = await post(lintel, sent);
    expect([response.status, (await errorOf(response)).code]).toEqual([status, code]);
    expect((await lintel.record()).errorCode).toBe(code);
  });

  test('too large without saying so beforehand', async () => {
    const lintel = await gateway([await echo()], { limits: { bodyBytesMax: 1000 } });
    const chunk = `${(800).toString(16)}\r\n${'x'.repeat(800)}\r\n`;
    const start = 'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n';
    expect(statusOf(await rawExchange(lintel.port, [start, chunk, chunk]))).toBe(413);
  });

  test('encoded ones that nobody here decodes are refused', async () => {
    const lintel = await gateway([await echo()]);
    expect((await post(lintel, chat(), { 'content-encoding': 'compress' })).status).toBe(415);
  });

  test('more of them than there is room for', async () => {
    const lintel = await gateway([await echo()], { limits: { bodyBytesHeldMax: 50 } });
    const response = await post(lintel, chat());
    expect([response.status, response.headers.get('retry-after')]).toEqual([503, '1']);
    expect((await lintel.record()).outcome).toBe(Outcome.REJECTED_CAPACITY);
  });
});

describe('one connection', () => {
  test('L28 pipelined requests are answered in order, each with its own body', async () => {
    let release = (): void => {};
    const origin = await engine((sent, response) => {
      const answer = (): void => void response.writeHead(200, { 'content-length': sent.length }).end(sent);
      if (sent.includes('slow')) release = answer;
      else {
        answer();
        release();
      }
    });
    const lintel = await gateway([origin]);
    const slow = chat({ n: 'slow' });
    const text = await rawExchange(lintel.port, [head('', slow.length) + slow + head() + body]);
    expect(answers(text)).toEqual([
      { status: 200, body: slow },
      { status: 200, body },
    ]);
  });

  test('L28 what is broken behind a good request does not reach its answer', async () => {
    const origin = await engine((sent, response) => {
      setTimeout(() => response.writeHead(200, { 'content-length': sent.length }).end(sent), 30);
    });
    const lintel = await gateway([origin]);
    const text = await rawExchange(lintel.port, [`${head()}${body}GARBAGE\r\n\r\n`]);
    expect(answers(text)).toEqual([{ status: 200, body }]);
  });

  test('a client that leaves while its second request waits ends that, too', async () => {
    let gone = 0;
    const origin = await engine((_body, _response, request) => void request.socket.on('close', () => gone++));
    const lintel = await gateway([origin]);
    const socket = connect(lintel.port, '127.0.0.1');
    socket.write(head() + body + head() + body);
    await eventually(() => expect(lintel.fleet.replicas[0]!.inflight).toBe(2));
    socket.destroy();
    await eventually(() => expect(gone).toBe(2));
    expect(lintel.records.map(({ outcome }) => outcome)).toEqual([Outcome.CLIENT_GONE, Outcome.CLIENT_GONE]);
    expect(lintel.plane.inflight).toBe(0);
  });

  test('slow headers and slow bodies run into a timeout', async () => {
    const lintel = await gateway([await echo()], {
      limits: { clientHeadersTimeoutMs: 100, clientRequestTimeoutMs: 150 },
    });
    const [headers, sent] = await Promise.all([
      rawExchange(lintel.port, ['POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n'], 4000),
      rawExchange(lintel.port, [head(), '{'], 4000),
    ]);
    expect([statusOf(headers), statusOf(sent)]).toEqual([408, 408]);
    await eventually(() => expect(lintel.records.map(({ httpStatus }) => httpStatus)).toEqual([408, 408]));
    expect(lintel.plane.inflight).toBe(0);
  });
});

describe('engines that misbehave', () => {
  const bad: Record<string, (socket: { write(data: string): void; destroy(): void }) => void> = {
    'endless headers': (socket) => {
      socket.write('HTTP/1.1 200 OK\r\n');
      for (let line = 0; line < 2000; line++) socket.write(`x-${line}: ${'y'.repeat(50)}\r\n`);
    },
    'both lengths': (socket) =>
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n'),
    'a status line that is none': (socket) => socket.write('HTTP/1.1 OK 200\r\n\r\n'),
  };
  test.each(Object.keys(bad))('L32 %s: that attempt is named a bad answer', async (name) => {
    const lintel = await gateway([await rawEngine((socket) => bad[name]!(socket))]);
    const response = await post(lintel, chat());
    expect(response.status).toBe(502);
    expect(await lintel.record()).toMatchObject({ attempts: [{ end: AttemptEnd.BAD_ANSWER }] });
  });

  test('a promised length that does not come cuts the client off, and one exceeded ends at the promise', async () => {
    const short = await gateway([
      await rawEngine((socket) => {
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc');
        socket.end();
      }),
    ]);
    await expect(post(short, chat()).then((response) => response.text())).rejects.toThrow();
    expect((await short.record()).outcome).toBe(Outcome.UPSTREAM_BROKEN);
    let connections = 0;
    const long = await gateway([
      await rawEngine((socket, _data, connection) => {
        connections = connection + 1;
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\nleak');
      }),
    ]);
    for (let turn = 0; turn < 2; turn++) expect(await (await post(long, chat())).text()).toBe('ok');
    // What came too much could be taken for the next answer: its connection is not used again.
    expect(connections).toBe(2);
  });

  test('silence before the first byte, and inside an answer', async () => {
    const limits = { firstByteTimeoutMs: 60, answerTimeoutMs: 60, idleTimeoutMs: 60 };
    const mute = await gateway([await rawEngine(() => {})], { limits });
    expect((await post(mute, chat())).status).toBe(504);
    expect(await mute.record()).toMatchObject({ attempts: [{ end: AttemptEnd.TIMEOUT }] });
    const stops = await gateway(
      [
        await engine((_body, response) => {
          response.writeHead(200, { 'content-type': 'text/event-stream' }).write(sse(token('a')));
        }),
      ],
      { limits },
    );
    expect(await (await post(stops, chat({ stream: true }))).text()).toContain('"code":"upstream_broken"');
    expect(await stops.record()).toMatchObject({ outcome: Outcome.UPSTREAM_BROKEN });
  });

  test("an engine's headers of our names do not reach the client", async () => {
    const lintel = await gateway([
      await engine((_body, response) =>
        response.writeHead(200, { 'x-lintel-request-id': 'forged', 'target-pod': 'forged', 'x-own': 'kept' }).end('x'),
      ),
    ]);
    const { headers } = await post(lintel, chat());
    expect([headers.get('x-lintel-request-id'), headers.get('target-pod'), headers.get('x-own')]).toEqual([
      (await lintel.record()).requestId,
      'r1',
      'kept',
    ]);
  });
});

test('a client that reads slowly holds its engine back, and one that stops reading is cut off', async () => {
  let sent = 0;
  const chunk = Buffer.alloc(64 * 1024, 'x');
  const origin = await engine((_body, response) => {
    response.writeHead(200, { 'content-type': 'text/plain' });
    const more = (): void => {
      while (!response.destroyed && response.write(chunk)) sent += chunk.length;
      if (!response.destroyed) response.once('drain', more);
    };
    more();
  });
  const lintel = await gateway([origin], { limits: { clientStallTimeoutMs: 300 } });
  const socket = connect(lintel.port, '127.0.0.1');
  socket.on('error', () => {});
  socket.write(head() + body);
  socket.once('data', () => socket.pause());
  expect(await lintel.record()).toMatchObject({ outcome: Outcome.CLIENT_GONE });
  // Bounded by the buffers of the sockets between, not by what the engine could send.
  expect(sent).toBeLessThan(64 * 1024 * 1024);
  socket.destroy();
});

test('draining refuses what is new and lets what is under way end', async () => {
  let finish = (): void => {};
  const origin = await engine((_body, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write(sse(token('a')));
    finish = () => void response.end(sse(token('b'), '[DONE]'));
  });
  const lintel = await gateway([origin]);
  const underWay = await post(lintel, chat({ stream: true }));
  const drained = lintel.plane.drain(5000);
  const refused = await post(lintel, chat());
  expect([refused.status, (await errorOf(refused)).code, refused.headers.get('connection')]).toEqual([
    503,
    'gateway_draining',
    'close',
  ]);
  finish();
  expect(await underWay.text()).toBe(sse(token('a'), token('b'), '[DONE]'));
  await drained;
  expect(lintel.plane.inflight).toBe(0);
});

test('draining cuts what does not end, with an event that says so', async () => {
  const lintel = await gateway([
    await engine((_body, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write(sse(token('a')));
    }),
  ]);
  const underWay = await post(lintel, chat({ stream: true }));
  await lintel.plane.drain(50);
  expect(await underWay.text()).toContain('"code":"gateway_stopped"');
  expect(await lintel.record()).toMatchObject({
    outcome: Outcome.EVICTED_DEADLINE,
    attempts: [{ end: AttemptEnd.CLIENT_GONE }],
  });
  await eventually(() => expect(lintel.plane.inflight).toBe(0));
});
