import { gzipSync } from 'node:zlib';
import { connect } from 'node:net';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { afterEach, expect, test } from '@jest/globals';
import { Agent, fetch as undiciFetch } from 'undici';
import { EventRegistry } from '#libs/contracts';
import { hashApiKey } from '#libs/domain/tenancy';
import { memoryBroker } from '#libs/event-log';
import { systemClock, systemEnvironment } from '#libs/kernel';
import { createLogger } from '#libs/observability';
import { eventually } from '#libs/testkit';
import { selfMadeCertificate } from '../certificate.fixture.ts';
import { desired } from '../gateway.fixture.ts';
import { startGateway } from '../gateway.ts';
import { afterwards, closeAll, engine, rawExchange } from '../serve/serve.fixture.ts';

afterEach(closeAll);

/** Every text below a folder, by file. */
async function textsBelow(folder: string): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  for (const name of await readdir(folder, { recursive: true })) {
    const path = join(folder, name);
    if ((await stat(path)).isFile()) texts.set(name, await readFile(path, 'latin1'));
  }
  return texts;
}

test('no key, secret or prompt stands in what a gateway logs, records, commits, counts or keeps, however it is used', async () => {
  const home = await mkdtemp(join(tmpdir(), 'lintel-secrets-'));
  const files = await mkdtemp(join(tmpdir(), 'lintel-secrets-'));
  for (const folder of [home, files]) afterwards(() => rm(folder, { recursive: true, force: true }));
  const made = selfMadeCertificate(new Date(systemClock.nowMs()));
  const secrets = {
    clientKey: 'lk-client-key-that-is-good-0001',
    revokedKey: 'lk-client-key-that-was-good-0002',
    wrongKey: 'lk-client-key-that-is-wrong-0003',
    engineKey: 'engine-key-of-the-replica-0004',
    saltSecret: 'salt-secret-of-the-operator-0005',
    prompt: 'what-nobody-else-may-read-0006',
    completion: 'what-the-engine-said-of-it-0007',
    queryKey: 'key-in-a-query-by-mistake-0008',
    idempotencyKey: 'idempotency-key-of-somebody-0009',
    tlsKey: made.key.split('\n')[1] as string,
  };
  const save = async (name: string, text: string): Promise<string> => {
    await writeFile(join(files, name), text);
    return join(files, name);
  };
  const [cert, key] = [await save('c', made.cert), await save('k', made.key)];
  const engineKeyFile = await save('e', secrets.engineKey);
  const saltFile = await save('s', secrets.saltSecret);

  let sent = '';
  const origin = await engine((body, response, request) => {
    if (request.url === '/v1/models') {
      response.end(JSON.stringify({ object: 'list', data: [{ id: 'tiny', object: 'model', owned_by: 'vllm' }] }));
      return;
    }
    if (request.method === 'GET') return void response.end('');
    sent += `${request.headers.authorization} ${body}`;
    // An engine that repeats what it was sent in an error.
    if (body.includes('fail')) response.writeHead(500).end(`${secrets.completion} ${request.headers.authorization}`);
    else response.end(JSON.stringify({ choices: [{ message: { content: secrets.completion } }] }));
  });

  const logs: string[] = [];
  const broker = memoryBroker(systemEnvironment, new EventRegistry());
  const telemetry: string[] = [];
  const publish = broker.telemetry.publish.bind(broker.telemetry);
  broker.telemetry.publish = (subject, bytes) => {
    telemetry.push(subject + Buffer.from(bytes).toString('latin1'));
    publish(subject, bytes);
  };
  const gateway = await startGateway({
    host: '127.0.0.1',
    port: 0,
    instance: 'g1',
    home,
    broker,
    open: false,
    logger: createLogger({ name: 'gateway', level: 'trace', stream: { write: (line) => void logs.push(line) } }),
    edge: { tls: { cert, key, minVersion: '1.2' }, cacheSaltSecret: `file:${saltFile}` },
  });
  afterwards(() => gateway.stop());
  const keyOf = (keyId: string, text: string) => ({ keyId, keyHash: hashApiKey(text) });
  const tenants = (...keys: ReturnType<typeof keyOf>[]) => [
    { tenantId: 'acme', displayName: 'Acme', cacheSalt: true, keys },
  ];
  const replicas = [{ replicaId: 'a', url: origin, source: 'flag', engine: 1, credentialRef: `file:${engineKeyFile}` }];
  const good = keyOf('good', secrets.clientKey);
  const from = { source: 'config:test', contentHash: 'x' };
  await gateway.apply(desired(replicas, { tenants: tenants(good, keyOf('old', secrets.revokedKey)) }), from);
  await gateway.apply(desired(replicas, { tenants: tenants(good) }), { ...from, contentHash: 'y' });
  await eventually(() => expect(gateway.fleet.replicasFor('tiny')?.[0]?.routability()).toBe('ready'), 10_000);

  const dispatcher = new Agent({ connect: { ca: made.cert } });
  afterwards(() => dispatcher.destroy());
  const chat = (more: object = {}): string =>
    JSON.stringify({ model: 'tiny', messages: [{ role: 'user', content: secrets.prompt }], ...more });
  const post = async (
    body: string | Uint8Array,
    headers: Record<string, string> = {},
    path = '/v1/chat/completions',
  ): Promise<number> => {
    const answer = await undiciFetch(gateway.url + path, {
      method: 'POST',
      dispatcher,
      body,
      headers: { authorization: `Bearer ${secrets.clientKey}`, ...headers },
    });
    await answer.text();
    return answer.status;
  };
  const statuses = [
    await post(chat()),
    await post(chat(), { 'idempotency-key': secrets.idempotencyKey }),
    await post(chat(), { 'x-api-key': secrets.clientKey }, '/v1/messages'),
    await post(chat({ fail: 1 })),
    await post(chat(), { authorization: `Bearer ${secrets.wrongKey}` }),
    await post(chat(), { authorization: `Bearer ${secrets.revokedKey}` }),
    await post(chat(), { authorization: `Basic ${secrets.wrongKey}` }),
    await post(chat({ model: secrets.wrongKey.slice(0, 3) })),
    await post(chat().slice(0, -5)),
    await post(new Uint8Array(gzipSync(chat())), { 'content-encoding': 'gzip' }),
    await post(chat(), {}, `/v1/chat/completions?api_key=${secrets.queryKey}`),
    await post(chat(), {}, `/v1/nowhere?api_key=${secrets.queryKey}`),
    await post(chat(), { 'routing-strategy': 'no-such' }),
  ];
  expect(statuses).toEqual([200, 200, 200, 500, 401, 401, 401, 404, 400, 200, 200, 404, 400]);
  // Bytes that are no request, with secrets in them: over TLS, and without it.
  const raw = `POST / HTTP/1.1\r\nauthorization : Bearer ${secrets.clientKey}\r\n\r\n${secrets.prompt}`;
  await rawExchange(gateway.port, [raw]);
  await new Promise((resolve) => {
    const socket = connectTls({ port: gateway.port, host: 'localhost', ca: made.cert }, () => socket.write(raw));
    socket.on('close', resolve).on('error', () => {});
    socket.resume();
  });
  const left = connect(gateway.port, '127.0.0.1').on('error', () => {});
  left.destroy();
  // The engine got what was its, so the test looks for what was really used.
  expect(sent).toContain(secrets.engineKey);
  expect(sent).toContain(secrets.prompt);
  expect(sent).not.toContain(secrets.clientKey);
  const salt = /"cache_salt":"([\w-]+)"/.exec(sent)?.[1] as string;
  expect(salt).toMatch(/^[\w-]{43}$/);

  const metrics = await undiciFetch(`${gateway.url}/metrics`, { dispatcher }).then((answer) => answer.text());
  const ready = await undiciFetch(`${gateway.url}/ready`, { dispatcher }).then((answer) => answer.text());
  await gateway.stop();
  const commits: string[] = [];
  for await (const stored of broker.log.read({ fromSeq: 1 })) {
    commits.push(stored.subject.toString() + Buffer.from(stored.payload).toString('latin1'));
  }
  const records: string[] = [];
  for await (const { bytes } of broker.frames.read({ fromSeq: 1 })) records.push(Buffer.from(bytes).toString('latin1'));
  const kept = await textsBelow(home);
  const places = new Map([
    ['logs', logs.join('')],
    ['metrics', metrics + ready],
    ['commits', commits.join('')],
    ['records', records.join('')],
    ['telemetry', telemetry.join('')],
    ...kept,
  ]);
  // Nothing is found where nothing is written.
  for (const name of ['logs', 'metrics', 'commits', 'records', 'telemetry']) {
    expect([name, (places.get(name) ?? '').length > 50]).toEqual([name, true]);
  }
  expect(places.get('records')).toContain('acme');
  for (const [what, secret] of Object.entries({ ...secrets, salt })) {
    for (const form of [
      secret,
      Buffer.from(secret).toString('base64').slice(0, -4),
      Buffer.from(secret).toString('hex'),
    ]) {
      for (const [place, text] of places) expect([what, place, text.includes(form)]).toEqual([what, place, false]);
    }
  }
});
