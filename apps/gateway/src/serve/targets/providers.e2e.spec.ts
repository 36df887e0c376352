import { afterEach, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import type { Provider } from '../../fleet/fleet.ts';
import { chat, closeAll, errorOf, post } from '../serve.fixture.ts';
import type { NamedEngine, RoutedGateway } from './targets.fixture.ts';
import { frameOf, namedEngine, routedGateway } from './targets.fixture.ts';
import { reexecute } from '#libs/domain/route';

afterEach(closeAll);

/** A gateway whose model "main" has own replicas and this provider, which calls it "gpt-x". */
async function withProvider(
  own: readonly NamedEngine[],
  external: NamedEngine,
  use: 'replica' | 'overflow' | 'fallback',
  allowsPrivate = true,
): Promise<RoutedGateway> {
  const lintel = await routedGateway({ main: own, away: [external] }, { open: true });
  const replica = lintel.replica('away-1');
  const provider: Provider = {
    host: 'api.example.com',
    basePath: '/openai/v1',
    names: new Map([['main', 'gpt-x']]),
    allowsPrivate,
  };
  Object.assign(replica, { provider, credential: 'sk-secret', engine: route.EngineKind.OPENAI });
  lintel.fleet.pools.delete('away');
  lintel.fleet.served.pop();
  lintel.fleet.renames = true;
  if (use === 'replica') lintel.fleet.pools.get('main')?.push(replica);
  else lintel.fleet.spares.set('main', { overflow: [], fallback: [], [use]: [replica] });
  return lintel;
}

const ask = (lintel: RoutedGateway, headers = {}): Promise<Response> =>
  post(lintel as never, chat({ model: 'main' }), headers);
const by = async (response: Response): Promise<string> => ((await response.json()) as { model: string }).model;

function verified({ records }: RoutedGateway): void {
  const frame = frameOf(records);
  for (const index of frame.records.keys()) expect(reexecute(frame, index)).toMatchObject({ equal: true });
}

test('a provider as a replica gets its path, its name of the model, its key, and none of the client’s secrets', async () => {
  const external = await namedEngine('external');
  const lintel = await withProvider([], external, 'replica');
  const response = await ask(lintel, {
    authorization: 'Bearer client',
    cookie: 'c=1',
    'x-session-id': 's',
    user: 'u',
    'user-agent': 'ua',
  });
  expect([response.status, response.headers.get('set-cookie'), await by(response)]).toEqual([
    200,
    null,
    'served-by-external',
  ]);
  expect(JSON.parse(external.bodies[0] as string)).toMatchObject({ model: 'gpt-x' });
  const seen = external.headers[0] ?? {};
  expect(seen).toMatchObject({ host: 'api.example.com', authorization: 'Bearer sk-secret', 'user-agent': 'ua' });
  expect(Object.keys(seen).filter((name) => ['cookie', 'x-session-id', 'user', 'traceparent'].includes(name))).toEqual(
    [],
  );
  expect(external.paths).toEqual(['/openai/v1/chat/completions']);
  verified(lintel);
});

test('overflow is asked only where own replicas are full, or gone; a fallback only where they are gone', async () => {
  const [own, external] = [await namedEngine('own'), await namedEngine('external')];
  const overflow = await withProvider([own], external, 'overflow');
  overflow.replica('main-1').labels = { slots: '2' };
  expect(await by(await ask(overflow))).toBe('served-by-own');
  overflow.replica('main-1').inflight = 2;
  expect(await by(await ask(overflow))).toBe('served-by-external');
  verified(overflow);
  const fallback = await withProvider([own], external, 'fallback');
  fallback.replica('main-1').labels = { slots: '2' };
  fallback.replica('main-1').inflight = 2;
  expect(await by(await ask(fallback))).toBe('served-by-own');
  own.status = 502;
  expect(await by(await ask(fallback))).toBe('served-by-external');
  fallback.replica('main-1').state = 'unhealthy';
  expect(await by(await ask(fallback))).toBe('served-by-external');
  verified(fallback);
});

test.each([429, 401, 403])('its %s about our account is not the client’s', async (status) => {
  const external = await namedEngine('external');
  external.status = status;
  const lintel = await withProvider([], external, 'replica');
  const response = await ask(lintel);
  expect(response.status).toBe(status === 429 ? 503 : 502);
  expect(await errorOf(response)).toMatchObject({ code: status === 429 ? 'upstream_overloaded' : 'upstream_failed' });
});

test('a name that leads to a private address is not connected to', async () => {
  const external = await namedEngine('external');
  const lintel = await withProvider(
    [],
    { ...external, origin: external.origin.replace('127.0.0.1', 'localhost') },
    'replica',
    false,
  );
  const response = await ask(lintel);
  expect(await errorOf(response)).toMatchObject({ message: expect.stringContaining('private addresses') });
  expect(external.bodies).toEqual([]);
});

test('a data-parallel rank is told to its server, and not what the client says of that', async () => {
  const server = await namedEngine('server');
  const lintel = await routedGateway({ main: [server, server] });
  for (const rank of [0, 1]) Object.assign(lintel.replica(`main-${rank + 1}`), { rank });
  lintel.replica('main-1').state = 'draining';
  await (await ask(lintel, { 'x-data-parallel-rank': '7' })).text();
  expect(server.headers[0]?.['x-data-parallel-rank']).toBe('1');
});

test('providers stand in for one another: one whose account is used up for the next, one that is away for its fellow', async () => {
  const [first, second, third] = [await namedEngine('p1'), await namedEngine('p2'), await namedEngine('p3')];
  const lintel = await withProvider([], first, 'replica');
  const away = await routedGateway({ spare: [second, third] });
  const spares = ['spare-1', 'spare-2'].map((id) => away.replica(id));
  const names = new Map([['main', 'their-name']]);
  for (const [index, replica] of spares.entries()) {
    const provider: Provider = { host: `api${index + 2}.example.com`, basePath: '/v1', names, allowsPrivate: true };
    Object.assign(replica, { provider, credential: `sk-${index + 2}`, engine: route.EngineKind.OPENAI });
  }
  lintel.fleet.spares.set('main', { overflow: [], fallback: spares });

  expect(await by(await ask(lintel))).toBe('served-by-p1');
  first.status = 429;
  const fellows = new Set<string>();
  for (let i = 0; i < 12; i++) fellows.add(await by(await ask(lintel)));
  expect([...fellows].sort()).toEqual(['served-by-p2', 'served-by-p3']);
  // Each with its own key, its own name of the model.
  for (const [engine, key] of [
    [second, 'Bearer sk-2'],
    [third, 'Bearer sk-3'],
  ] as const) {
    expect(engine.headers.at(-1)?.['authorization']).toBe(key);
    expect(JSON.parse(engine.bodies.at(-1) as string)).toMatchObject({ model: 'their-name' });
  }
  second.status = 503;
  for (let i = 0; i < 6; i++) expect(await by(await ask(lintel))).toBe('served-by-p3');
  third.status = 401;
  const none = await ask(lintel);
  expect([502, 503]).toContain(none.status);
  // Back again: the first one is asked first.
  first.status = 200;
  expect(await by(await ask(lintel))).toBe('served-by-p1');
  verified(lintel);
});
