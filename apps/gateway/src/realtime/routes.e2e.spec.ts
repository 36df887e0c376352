import { once } from 'node:events';
import { createServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { connect } from 'node:net';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { afterEach, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import { systemClock, systemEnvironment } from '#libs/kernel';
import { eventually } from '#libs/testkit';
import { selfMadeCertificate } from '../certificate.fixture.ts';
import { startEdge } from '../edge/index.ts';
import { UpstreamTls } from '../edge/upstream-tls.ts';
import type { FleetReplica, Provider } from '../fleet/fleet.ts';
import { afterwards, closeAll, deadOrigin, gateway, rawExchange } from '../serve/serve.fixture.ts';
import { routedGateway } from '../serve/targets/targets.fixture.ts';
import type { NamedEngine, RoutedGateway } from '../serve/targets/targets.fixture.ts';
import { websocketEngine } from './websocket-engine.fixture.ts';

const { AttemptEnd, Outcome, StageCause } = route;

afterEach(closeAll);

const at = (origin: string): NamedEngine => ({ origin, bodies: [], paths: [], headers: [], status: 200 });
const upgrade = (query: string, headers = ''): string =>
  `GET /v1/realtime${query} HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n` +
  `sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n${headers}\r\n`;
/** An empty close frame with code 1000, masked by zeros. */
const goodbye = Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]);

/** Opens a session, says goodbye, and gives the head that was answered. */
async function session(socket: Socket, query: string, headers = ''): Promise<string> {
  afterwards(() => void socket.destroy());
  socket.on('error', () => {});
  let text = '';
  socket.on('data', (data: Buffer) => (text += data.toString('latin1')));
  socket.write(upgrade(query, headers));
  await eventually(() => expect(text).toContain('\r\n\r\n'));
  if (text.startsWith('HTTP/1.1 101 ')) socket.write(goodbye);
  if (!socket.destroyed) await once(socket, 'close');
  return text;
}
/** Resolves once the session has its record, too. */
async function plain(
  lintel: { readonly port: number; readonly records: readonly unknown[] },
  query: string,
  headers = '',
): Promise<string> {
  const before = lintel.records.length;
  const head = await session(connect(lintel.port, '127.0.0.1'), query, headers);
  await eventually(() => expect(lintel.records).toHaveLength(before + 1));
  return head;
}

const looks = ({ records }: RoutedGateway): unknown[] =>
  (records.at(-1)?.modelChoice?.looks ?? []).filter(({ taken }) => taken).map(({ stage, cause }) => [stage, cause]);

test('an alias and a canary lead a session as they lead a request; the engine is asked for the model it serves', async () => {
  const [main, next] = [await websocketEngine(), await websocketEngine()];
  const lintel = await routedGateway({ main: [at(main.origin)], next: [at(next.origin)] });
  lintel.lead({
    models: ['voice'],
    shares: [
      { model: 'main', weight: 1 },
      { model: 'next', headerName: 'x-canary' },
    ],
  });
  expect(await plain(lintel, '?intent=x&model=voice')).toMatch(/^HTTP\/1\.1 101 /);
  expect(main.sessions.map(({ request }) => request.url)).toEqual(['/v1/realtime?intent=x&model=main']);
  expect(lintel.records[0]).toMatchObject({
    model: 'main',
    modelChoice: { asked: 'voice' },
    outcome: Outcome.COMPLETED,
  });
  expect(await plain(lintel, '?model=voice', 'x-canary: 1\r\n')).toMatch(/^HTTP\/1\.1 101 /);
  expect(next.sessions.map(({ request }) => request.url)).toEqual(['/v1/realtime?model=next']);
});

test('a fallback takes over where a pool is gone, and after its tries failed', async () => {
  const spare = await websocketEngine();
  const lintel = await routedGateway({ main: [at(await deadOrigin())], spare: [at(spare.origin)] });
  lintel.lead({ models: ['main'], fallbacks: [{ model: 'spare', gone: true }] });
  expect(await plain(lintel, '?model=main')).toMatch(/^HTTP\/1\.1 101 /);
  expect(lintel.records[0]).toMatchObject({
    model: 'spare',
    attempts: [
      { replicaId: 'main-1', end: AttemptEnd.CONNECT_FAILED },
      { replicaId: 'spare-1', end: AttemptEnd.ANSWERED },
    ],
  });
  expect(looks(lintel)).toEqual([
    [0, StageCause.FIRST],
    [1, StageCause.FAILED],
  ]);
  lintel.replica('main-1').state = 'unhealthy';
  expect(await plain(lintel, '?model=main')).toMatch(/^HTTP\/1\.1 101 /);
  expect(looks(lintel)).toEqual([[1, StageCause.GONE]]);
  expect(spare.sessions.map(({ request }) => request.url)).toEqual([
    '/v1/realtime?model=spare',
    '/v1/realtime?model=spare',
  ]);
});

test('a provider gets its own path, name and key, and no more of the client than it needs; a rank is named', async () => {
  const away = await websocketEngine();
  const lintel = await routedGateway({ main: [], away: [at(away.origin)] });
  const replica = lintel.replica('away-1');
  const provider: Provider = {
    host: 'api.example.com',
    basePath: '/openai/v1',
    names: new Map([['main', 'gpt-x']]),
    allowsPrivate: true,
  };
  Object.assign(replica, { provider, credential: 'sk-secret', rank: 3 });
  lintel.fleet.renames = true;
  lintel.fleet.pools.get('main')?.push(replica);
  const head = await plain(
    lintel,
    '?model=main&api-key=client',
    'cookie: a=b\r\nx-session-id: s\r\nopenai-beta: realtime=v1\r\n',
  );
  expect(head).toMatch(/^HTTP\/1\.1 101 /);
  const { request } = away.sessions[0]!;
  expect(request.url).toBe('/openai/v1/realtime?model=gpt-x');
  expect(request.headers).toMatchObject({
    host: 'api.example.com',
    authorization: 'Bearer sk-secret',
    'openai-beta': 'realtime=v1',
    'x-data-parallel-rank': '3',
  });
  expect(JSON.stringify(request.rawHeaders)).not.toMatch(/client|cookie|x-session-id/);
  // A name may come to lead to a private address: refused where the provider is not allowed there.
  const other = await routedGateway({ main: [], away: [at(away.origin.replace('127.0.0.1', 'localhost'))] });
  Object.assign(other.replica('away-1'), { provider: { ...provider, allowsPrivate: false } });
  other.fleet.pools.get('main')?.push(other.replica('away-1'));
  expect(await plain(other, '?model=main')).toMatch(/^HTTP\/1\.1 502 /);
  expect(away.sessions).toHaveLength(1);
});

test('a session that arrives where no replica takes requests says that one is wanted', async () => {
  const wanted: (readonly [string, number])[] = [];
  const lintel = await gateway(['http://127.0.0.1:9'], {
    wanted: (model, _replicas, waiting) => wanted.push([model, waiting]),
  });
  lintel.fleet.replicas[0]!.state = 'asleep';
  expect(await rawExchange(lintel.port, [upgrade('?model=tiny')])).toMatch(/^HTTP\/1\.1 503 /);
  expect(wanted).toEqual([['tiny', 0]]);
});

test('behind TLS, to a replica behind https', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'lintel-realtime-'));
  afterwards(() => rm(folder, { recursive: true, force: true }));
  const made = selfMadeCertificate(new Date(systemClock.nowMs()));
  const [cert, key] = [join(folder, 'c'), join(folder, 'k')];
  await writeFile(cert, made.cert);
  await writeFile(key, made.key);
  const say = (): void => {};
  const config = { tls: { cert, key, minVersion: '1.2' } } as const;
  const edge = await startEdge({ config, environment: systemEnvironment, say, idleMs: 10_000, requestMs: 10_000 });
  const trusts = await UpstreamTls.start({ timers: systemEnvironment.timers, say, caFile: undefined });
  const engine = await websocketEngine();
  const inner = new URL(engine.origin);
  const front = createServer(made);
  front.on('upgrade', (request, client, head) => {
    const through = connect(Number(inner.port), inner.hostname);
    through.on('error', () => client.destroy());
    client.on('error', () => through.destroy());
    let text = `${request.method} ${request.url} HTTP/1.1\r\n`;
    for (let index = 0; index < request.rawHeaders.length; index += 2) {
      text += `${request.rawHeaders[index]}: ${request.rawHeaders[index + 1]}\r\n`;
    }
    through.write(`${text}\r\n`);
    through.write(head);
    client.pipe(through).pipe(client);
  });
  await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
  afterwards(() => {
    front.closeAllConnections();
    front.close();
  });
  const lintel = await gateway([`https://localhost:${(front.address() as AddressInfo).port}`], { edge });
  const tls = create(route.ReplicaTlsSchema, { ca: cert });
  Object.assign(lintel.fleet.replicas[0] as FleetReplica, { trust: trusts.of(tls) });
  afterwards(() => {
    trusts.stop();
    edge.tls?.stop();
  });
  const socket = connectTls({ port: lintel.port, host: 'localhost', ca: made.cert, ALPNProtocols: ['http/1.1'] });
  await once(socket, 'secureConnect');
  expect(await session(socket, '?model=tiny')).toMatch(/^HTTP\/1\.1 101 /);
  expect(engine.sessions.map(({ request }) => request.url)).toEqual(['/v1/realtime?model=tiny']);
  expect(await lintel.record()).toMatchObject({ outcome: Outcome.COMPLETED, tunnel: { closeCode: 1000 } });
});
