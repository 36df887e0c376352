import { createHash, randomBytes } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import OpenAI, { toFile } from 'openai';
import { route } from '#libs/contracts';
import { boundaryOf, FormScanner } from './body/form-scanner.ts';
import { afterwards, closeAll, deadOrigin, engine, errorOf, gateway, rawEngine, rawExchange } from './serve.fixture.ts';

const { AttemptEnd, Outcome } = route;
const path = '/v1/audio/transcriptions';

afterEach(closeAll);

const limits = { formPartsMax: 8, formHeaderBytesMax: 512, modelBytesMax: 64 };

const part = (name: string, value: string, more = ''): string =>
  `--B\r\nContent-Disposition: form-data; name="${name}"${more}\r\n\r\n${value}\r\n`;

function scan(text: string, cuts: readonly number[] = []): { scanner: FormScanner; code: string | undefined } {
  const scanner = new FormScanner('B', limits);
  const bytes = Buffer.from(text, 'latin1');
  let from = 0;
  for (const to of [...cuts.map((cut) => cut % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length]) {
    const found = scanner.feed(bytes.subarray(from, to));
    if (found !== undefined) return { scanner, code: found.code };
    from = to;
  }
  return { scanner, code: undefined };
}

describe('the scanner of forms', () => {
  test('finds model and stream wherever they stand and however the bytes are cut', () => {
    const file = fc
      .array(fc.constantFrom('\r', '\n', '-', '--', 'B', '\r\n-', '\r\n--', 'x', '\0', 'name="model"'), {
        maxLength: 40,
      })
      .map((pieces) => pieces.join(''))
      .filter((text) => !text.includes('\r\n--B') && !`\r\n${text}`.slice(1).includes('\r\n--B'));
    fc.assert(
      fc.property(
        file,
        fc.string({ minLength: 1, maxLength: 20, unit: fc.constantFrom('a', '-', '/', '.', ' ') }),
        fc.boolean(),
        fc.shuffledSubarray([0, 1, 2, 3], { minLength: 4 }),
        fc.array(fc.nat(), { maxLength: 12 }),
        (content, model, stream, order, cuts) => {
          const parts = [
            part('file', content, '; filename="a.wav"'),
            part('model', model),
            part('stream', String(stream)),
            part('prompt', content),
          ];
          const { scanner, code } = scan(`${order.map((index) => parts[index]).join('')}--B--\r\n`, cuts);
          expect([code, scanner.model, scanner.stream, scanner.ended]).toEqual([undefined, model, stream, true]);
        },
      ),
      { numRuns: 500 },
    );
  });

  test.each([
    ['no first boundary', `x${part('model', 'a')}`, 'invalid_multipart'],
    ['a second model', part('model', 'a') + part('model', 'b'), 'duplicate_field'],
    [
      'a part named twice',
      '--B\r\nContent-Disposition: form-data; name="a"; name="model"\r\n\r\n',
      'invalid_multipart',
    ],
    [
      'a name in another encoding',
      "--B\r\nContent-Disposition: form-data; name*=utf-8''model\r\n\r\n",
      'invalid_multipart',
    ],
    ['an escaped name', '--B\r\nContent-Disposition: form-data; name="mo\\del"\r\n\r\n', 'invalid_multipart'],
    [
      'a second disposition',
      '--B\r\nContent-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=model\r\n\r\n',
      'invalid_multipart',
    ],
    ['a folded header', '--B\r\nContent-Disposition: form-data;\r\n name="model"\r\n\r\n', 'invalid_multipart'],
    ['no disposition', '--B\r\nContent-Type: text/plain\r\n\r\n', 'invalid_multipart'],
    [
      'base64',
      '--B\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: form-data; name="model"\r\n\r\n',
      'invalid_multipart',
    ],
    ['a bare line feed', '--B\nContent-Disposition: form-data; name="model"\n\n', 'invalid_multipart'],
    ['a longer boundary', part('file', '').replace('\r\n', 'x\r\n'), 'invalid_multipart'],
    ['headers without end', `--B\r\nx: ${'a'.repeat(600)}`, 'invalid_multipart'],
    ['too many parts', part('a', '').repeat(9), 'invalid_multipart'],
    ['a model without end', part('model', 'a'.repeat(100)), 'invalid_model'],
    ['an empty model', `${part('model', '')}--B--`, 'missing_model'],
    ['a model that is not UTF-8', `${part('model', '\xff')}--B--`, 'invalid_utf8'],
    ['something after the end', `${part('model', 'a')}--B--\r\n${part('model', 'b')}`, 'invalid_multipart'],
  ])('refuses %s', (_name, text, code) => {
    expect(scan(text).code).toBe(code);
    expect(
      scan(
        text,
        Array.from({ length: 40 }, (_, index) => index * 7),
      ).code,
    ).toBe(code);
  });

  test('keeps little of a long file', () => {
    const scanner = new FormScanner('B', limits);
    scanner.feed(Buffer.from(`${part('file', 'x').slice(0, -2)}`));
    const before = process.memoryUsage().arrayBuffers;
    const megabyte = Buffer.alloc(1024 * 1024, '\r\n--');
    for (let index = 0; index < 64; index++) expect(scanner.feed(megabyte)).toBeUndefined();
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(48 * 1024 * 1024);
  });

  test.each([
    ['multipart/form-data; boundary=abc', 'abc'],
    ['Multipart/Form-Data; charset=utf-8; boundary="a b"', 'a b'],
    ['multipart/form-data', undefined],
    ['multipart/form-data; boundary=a; boundary=b', undefined],
    ['multipart/mixed; boundary=a', undefined],
    ['application/json', undefined],
    [`multipart/form-data; boundary=${'a'.repeat(71)}`, undefined],
    ['multipart/form-data; boundary="a\\"b"', undefined],
    ['multipart/form-data; boundary=""', undefined],
    ['', undefined],
  ])('%s has the boundary %s', (type, boundary) => {
    expect(boundaryOf(type)).toBe(boundary);
  });
});

/** An engine that reads a body as it comes, and answers its size and hash. */
async function listener(onChunk: (bytes: number, response: ServerResponse) => void = () => {}) {
  const seen: { headers: Record<string, unknown>; bytes: number }[] = [];
  const server = createServer((request, response) => {
    const hash = createHash('sha256');
    const one = { headers: request.headers as Record<string, unknown>, bytes: 0 };
    seen.push(one);
    request.on('data', (chunk: Buffer) => {
      hash.update(chunk);
      one.bytes += chunk.length;
      onChunk(one.bytes, response);
    });
    request.on('error', () => {});
    request.on('end', () => {
      if (!response.headersSent)
        response
          .setHeader('content-type', 'application/json')
          .end(JSON.stringify({ text: hash.digest('hex'), usage: { type: 'duration', seconds: 1 } }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  afterwards(() => {
    server.closeAllConnections();
    server.close();
  });
  return { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

const formHeaders = { 'content-type': 'multipart/form-data; boundary=B' };

function formOf(file: Buffer, first: 'model' | 'file'): Buffer {
  const model = Buffer.from(part('model', 'tiny'));
  const audio = Buffer.concat([
    Buffer.from(part('file', '', '; filename="a.wav"').slice(0, -2)),
    file,
    Buffer.from('\r\n'),
  ]);
  return Buffer.concat([...(first === 'model' ? [model, audio] : [audio, model]), Buffer.from('--B--\r\n')]);
}

const sha = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

describe('a form', () => {
  test.each(['model', 'file'] as const)(
    'with its %s first arrives byte for byte, with a length and in chunks',
    async (first) => {
      const { origin, seen } = await listener();
      const lintel = await gateway([origin]);
      const form = formOf(randomBytes(3 * 1024 * 1024), first);
      const whole = await fetch(lintel.url + path, {
        method: 'POST',
        headers: formHeaders,
        body: new Uint8Array(form),
      });
      expect(await whole.json()).toMatchObject({ text: sha(form) });
      const stream = new ReadableStream({
        start(controller) {
          for (let at = 0; at < form.length; at += 50_000)
            controller.enqueue(new Uint8Array(form.subarray(at, at + 50_000)));
          controller.close();
        },
      });
      const init = { method: 'POST', headers: formHeaders, body: stream, duplex: 'half' };
      const chunked = await fetch(lintel.url + path, init as RequestInit);
      expect(await chunked.json()).toMatchObject({ text: sha(form) });
      expect(seen[0]!.headers['content-length']).toBe(String(form.length));
      expect(seen[1]!.headers['content-type']).toBe('multipart/form-data; boundary=B');
      expect(lintel.records).toMatchObject([
        { model: 'tiny', endpoint: path, outcome: Outcome.COMPLETED },
        { model: 'tiny', endpoint: path, outcome: Outcome.COMPLETED },
      ]);
    },
  );

  test('flows through while the client still sends, and is not held', async () => {
    const reached = Promise.withResolvers<void>();
    const { origin, seen } = await listener((bytes) => {
      if (bytes > 8 * 1024 * 1024) reached.resolve();
    });
    const lintel = await gateway([origin], {
      limits: { bodyBytesHeldMax: 1024 * 1024, formLookAheadBytesMax: 256 * 1024 },
    });
    const form = formOf(Buffer.alloc(9 * 1024 * 1024, 'a'), 'model');
    const socket = connect(lintel.port, '127.0.0.1');
    const answered = new Promise<string>((resolve) => socket.once('data', (data) => resolve(data.toString())));
    socket.write(
      `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=B\r\ncontent-length: ${form.length}\r\n\r\n`,
    );
    socket.write(form.subarray(0, form.length - 10));
    await reached.promise;
    expect(lintel.records).toEqual([]);
    socket.write(form.subarray(form.length - 10));
    expect(await answered).toContain(sha(form));
    socket.destroy();
    expect(seen).toHaveLength(1);
  });

  test('that is small is sent to the next replica, like any other body', async () => {
    const { origin } = await listener();
    const lintel = await gateway([await deadOrigin(), origin]);
    const form = formOf(Buffer.from('abc'), 'file');
    for (let turn = 0; turn < 4; turn++) {
      const response = await fetch(lintel.url + path, {
        method: 'POST',
        headers: formHeaders,
        body: new Uint8Array(form),
      });
      expect(await response.json()).toMatchObject({ text: sha(form) });
    }
    expect(lintel.records.some(({ attempts }) => attempts.length === 2)).toBe(true);
  });

  test('that is under way goes to the next replica as long as none has taken the connection, and to no other afterwards', async () => {
    const form = formOf(Buffer.alloc(2 * 1024 * 1024, 'a'), 'model');
    const head = `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=B\r\ncontent-length: ${form.length}\r\n\r\n`;
    const send = (port: number): Promise<string> =>
      new Promise((resolve) => {
        const socket = connect(port, '127.0.0.1');
        let got = '';
        socket.on('data', (data) => (got += data.toString()));
        socket.on('error', () => {});
        socket.on('close', () => resolve(got));
        socket.on('data', () => socket.end());
        socket.write(head);
        socket.write(form);
      });
    const { origin } = await listener();
    const first = await gateway([await deadOrigin(), origin]);
    for (let turn = 0; turn < 4; turn++) expect(await send(first.port)).toContain(sha(form));
    expect(first.records.some(({ attempts }) => attempts.length === 2)).toBe(true);
    const resets = await rawEngine((socket) => socket.resetAndDestroy());
    const second = await gateway([resets, resets]);
    expect(await send(second.port)).toMatch(/^HTTP\/1\.1 502 /);
    const { attempts, outcome } = await second.record();
    expect([attempts.length, attempts[0]!.end, outcome]).toEqual([1, AttemptEnd.RESET, Outcome.UPSTREAM_FAILED]);
    expect(attempts[0]!.error).toContain('cannot be sent again');
  });

  test('that turns out to be broken under way ends at the engine, which never sees it whole', async () => {
    const { origin, seen } = await listener();
    const lintel = await gateway([origin]);
    const good = formOf(Buffer.alloc(1024 * 1024, 'a'), 'model');
    const bad = Buffer.concat([good.subarray(0, -7), Buffer.from(`${part('model', 'other')}--B--\r\n`)]);
    const response = await fetch(lintel.url + path, {
      method: 'POST',
      headers: formHeaders,
      body: new Uint8Array(bad),
    });
    expect([response.status, (await errorOf(response)).code]).toEqual([400, 'duplicate_field']);
    expect(seen[0]?.bytes ?? 0).toBeLessThan(bad.length);
    expect(lintel.fleet.replicas[0]!.inflight).toBe(0);
  });

  test('whose engine answers before it has read it all is answered so', async () => {
    const { origin } = await listener((_bytes, response) => {
      if (!response.headersSent) response.writeHead(413, { 'content-length': 3 }).end('big');
    });
    const lintel = await gateway([origin]);
    const socket = connect(lintel.port, '127.0.0.1');
    let got = '';
    socket.on('data', (data) => (got += data.toString()));
    socket.on('error', () => {});
    const closed = new Promise((resolve) => socket.on('close', resolve));
    socket.write(
      `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=B\r\ncontent-length: 99999999\r\n\r\n`,
    );
    socket.write(formOf(Buffer.alloc(300 * 1024), 'model').subarray(0, -20));
    await closed;
    expect(got).toMatch(/^HTTP\/1\.1 413 /);
    expect(got.toLowerCase()).toContain('connection: close');
    expect(await lintel.record()).toMatchObject({ httpStatus: 413, outcome: Outcome.UPSTREAM_ERROR });
  });

  test('whose client leaves in the middle ends at the engine at once', async () => {
    const { origin, seen } = await listener();
    const lintel = await gateway([origin]);
    const socket = connect(lintel.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write(
      `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=B\r\ncontent-length: 99999999\r\n\r\n`,
    );
    socket.write(formOf(Buffer.alloc(300 * 1024), 'model').subarray(0, -20));
    while ((seen[0]?.bytes ?? 0) < 300 * 1024) await new Promise((resolve) => setImmediate(resolve));
    socket.destroy();
    expect((await lintel.record()).outcome).toBe(Outcome.CLIENT_GONE);
    expect(lintel.fleet.replicas[0]!.ends).toEqual([AttemptEnd.CLIENT_GONE]);
  });

  test.each([
    ['JSON', { 'content-type': 'application/json' }, '{}', 'invalid_content_type'],
    ['no boundary', { 'content-type': 'multipart/form-data' }, part('model', 'tiny'), 'invalid_content_type'],
    ['no end', formHeaders, part('model', 'tiny'), 'invalid_multipart'],
    ['an unknown model', formHeaders, `${part('model', 'nope')}--B--\r\n`, 'model_not_found'],
    [
      'a model too late',
      formHeaders,
      `${part('file', 'x'.repeat(5000))}${part('model', 'tiny')}--B--\r\n`,
      'model_too_late',
    ],
  ])('with %s is refused, and recorded', async (_name, headers, body, code) => {
    const lintel = await gateway([await engine((_body, response) => response.end('{}'))], {
      limits: { formLookAheadBytesMax: 2000 },
    });
    // In two pieces: what is all here at once may have its model anywhere.
    const text = await rawExchange(lintel.port, [
      `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: ${headers['content-type']}\r\ntransfer-encoding: chunked\r\n\r\n`,
      ...[body.slice(0, 4000), body.slice(4000)]
        .filter((piece) => piece !== '')
        .map((piece) => `${piece.length.toString(16)}\r\n${piece}\r\n`),
      '0\r\n\r\n',
    ]);
    expect(text).toContain(`"code":"${code}"`);
    expect((await lintel.record()).errorCode).toBe(code);
  });

  test('of two content-types is refused: an engine could take the other', async () => {
    const lintel = await gateway([await deadOrigin()]);
    const text = await rawExchange(lintel.port, [
      `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=B\r\ncontent-type: multipart/form-data; boundary=C\r\ncontent-length: 0\r\n\r\n`,
    ]);
    expect(text).toContain('invalid_content_type');
  });

  test('is what the official client sends', async () => {
    const { origin } = await listener();
    const lintel = await gateway([origin]);
    const client = new OpenAI({ baseURL: `${lintel.url}/v1`, apiKey: 'any', maxRetries: 0 });
    const file = await toFile(randomBytes(200_000), 'é "x".wav');
    expect((await client.audio.transcriptions.create({ file, model: 'tiny' })).text).toHaveLength(64);
    expect((await client.audio.translations.create({ model: 'tiny', file })).text).toHaveLength(64);
    expect(lintel.records.map(({ model }) => model)).toEqual(['tiny', 'tiny']);
  });
});
