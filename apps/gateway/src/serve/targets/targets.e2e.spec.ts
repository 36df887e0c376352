import { afterEach, describe, expect, test } from '@jest/globals';
import { create } from '@bufbuild/protobuf';
import { route, tenancy } from '#libs/contracts';
import { explainRequest, summarize } from '#libs/domain/diag';
import { reexecute } from '#libs/domain/route';
import { hashApiKey } from '#libs/domain/tenancy';
import { chat, closeAll, deadOrigin, errorOf, post } from '../serve.fixture.ts';
import type { RoutedGateway } from './targets.fixture.ts';
import { frameOf, namedEngine, routedGateway } from './targets.fixture.ts';

afterEach(closeAll);

const ask = (lintel: RoutedGateway, model: string, headers = {}, more = {}): Promise<Response> =>
  post(lintel as never, chat({ model, ...more }), headers);
const servedBy = async (response: Response): Promise<string> => ((await response.json()) as { model: string }).model;

/** Every record decided again from itself; what `lintel why` says of the last one. */
function told({ records }: RoutedGateway): string {
  const frame = frameOf(records);
  for (const index of frame.records.keys()) expect(reexecute(frame, index)).toMatchObject({ equal: true });
  const last = frame.records.at(-1) as route.DecisionRecord;
  return summarize(explainRequest(frame, last));
}

function keysOf(lintel: RoutedGateway, keys: Record<string, object>): void {
  for (const [name, more] of Object.entries(keys)) {
    const keyHash = hashApiKey(name);
    const key = create(tenancy.KeyIssuedSchema, { tenantId: name, keyId: name, keyHash, ...more });
    lintel.state.tenancy.keysByHash.set(keyHash, [{ key, revoked: undefined }]);
  }
}

describe('an alias', () => {
  test('leads to its model: only the name changes in the body, and the answer says what the engine says', async () => {
    const main = await namedEngine('main');
    const lintel = await routedGateway({ main: [main] });
    lintel.lead({ models: ['gpt-4o'], shares: [{ model: 'main', weight: 1 }] });
    const body =
      '{ "stream":false,  "m\\u006fdel" :\t"gpt-4o" , "messages":[{"role":"user","content":"gpt-4o ü"}],"x":1e2 }';
    const response = await post(lintel as never, body);
    expect(await servedBy(response)).toBe('served-by-main');
    expect(main.bodies).toEqual([body.replace('"gpt-4o" ,', '"main" ,')]);
    expect(main.headers[0]?.['content-length']).toBe(String(Buffer.byteLength(body) - 2));
    expect(lintel.records[0]).toMatchObject({
      model: 'main',
      modelChoice: { asked: 'gpt-4o', routeId: 'r', routeSeq: 41 },
    });
    expect(told(lintel)).toMatch(/^gpt-4o led to main \(model route r v3\)\. main-1 was chosen/);
  });

  test('and the usage of a stream are both put in, nothing else', async () => {
    const main = await namedEngine('main');
    const lintel = await routedGateway({ main: [main] });
    lintel.lead({ models: ['gpt-4o'], shares: [{ model: 'main', weight: 1 }] });
    await (await post(lintel as never, '{"model":"gpt-4o","stream":true,"messages":[]}')).text();
    expect(main.bodies).toEqual([
      '{"stream_options":{"include_usage":true},"model":"main","stream":true,"messages":[]}',
    ]);
  });

  test('of one tenant is nobody else’s; a key needs the name that it asks for, not the one served', async () => {
    const main = await namedEngine('main');
    const lintel = await routedGateway({ main: [main] }, { open: false });
    lintel.lead({ models: ['fast'], tenants: ['acme'], shares: [{ model: 'main', weight: 1 }] });
    keysOf(lintel, { acme: { models: ['fast'] }, other: {} });
    const as = (key: string): Record<string, string> => ({ authorization: `Bearer ${key}` });
    expect((await ask(lintel, 'fast', as('acme'))).status).toBe(200);
    expect((await ask(lintel, 'main', as('acme'))).status).toBe(403);
    expect((await ask(lintel, 'fast', as('other'))).status).toBe(404);
    const listed = async (key: string): Promise<string[]> =>
      (
        (await (await fetch(`${lintel.url}/v1/models`, { headers: as(key) })).json()) as { data: { id: string }[] }
      ).data.map(({ id }) => id);
    expect([await listed('acme'), await listed('other')]).toEqual([['fast'], ['main']]);
    const one = await fetch(`${lintel.url}/v1/models/fast`, { headers: as('acme') });
    expect(await one.json()).toMatchObject({ id: 'fast', root: 'main', max_model_len: 4096 });
  });

  test.each([
    ['whole', false],
    ['as it comes', true],
  ])('in a form %s', async (_how, streamed) => {
    const main = await namedEngine('main');
    const lintel = await routedGateway({ main: [main] });
    lintel.lead({ models: ['whisper'], shares: [{ model: 'main', weight: 1 }] });
    const audio = 'whisper'.repeat(streamed ? 40_000 : 3);
    const part = (head: string, value: string): string =>
      `--b\r\nContent-Disposition: form-data; ${head}\r\n\r\n${value}\r\n`;
    const body = `${part('name="model"', 'whisper')}${part('name="file"; filename="a.wav"', audio)}--b--\r\n`;
    const response = await post(
      lintel as never,
      body,
      { 'content-type': 'multipart/form-data; boundary=b' },
      '/v1/audio/transcriptions',
    );
    expect(response.status).toBe(200);
    expect(main.bodies[0]?.length).toBe(body.length - 3);
    expect(main.bodies[0] === body.replace('\r\n\r\nwhisper\r\n', '\r\n\r\nmain\r\n')).toBe(true);
    expect(lintel.records[0]).toMatchObject({ model: 'main', outcome: route.Outcome.COMPLETED });
  });

  test('whose model nobody serves is 503 and says so', async () => {
    const lintel = await routedGateway({ main: [await namedEngine('main')] });
    lintel.lead({ models: ['gpt-4o'], shares: [{ model: 'gone', weight: 1 }] });
    const response = await ask(lintel, 'gpt-4o');
    expect(response.status).toBe(503);
    expect(await errorOf(response)).toMatchObject({
      code: 'no_ready_replica',
      message: expect.stringContaining('gpt-4o'),
    });
    told(lintel);
  });
});

describe('a canary', () => {
  const shares = [
    { model: 'main', weight: 70 },
    { model: 'next', weight: 30 },
    { model: 'next', headerName: 'x-canary', headerValue: 'on' },
  ];

  test('has its share by weight; a session stays on its side; a header goes there', async () => {
    const lintel = await routedGateway({ main: [await namedEngine('main')], next: [await namedEngine('next')] });
    lintel.lead({ models: ['gpt-4o'], shares });
    let next = 0;
    for (let session = 0; session < 60; session++) {
      const headers = { 'x-session-id': `s-${session}` };
      const first = await servedBy(await ask(lintel, 'gpt-4o', headers));
      expect(await servedBy(await ask(lintel, 'gpt-4o', headers))).toBe(first);
      if (first === 'served-by-next') next++;
      expect(await servedBy(await ask(lintel, 'gpt-4o', { ...headers, 'x-canary': 'on' }))).toBe('served-by-next');
    }
    expect(next).toBeGreaterThan(8);
    expect(next).toBeLessThan(30);
    expect(told(lintel)).toMatch(/^gpt-4o led to next by its header \(model route r v3\)/);
  });

  test('between versions of one model is a selector over its replicas', async () => {
    const [one, two] = [await namedEngine('one'), await namedEngine('two')];
    const lintel = await routedGateway({ main: [one, two] });
    lintel.replica('main-2').labels = { version: 'v2' };
    lintel.lead({
      models: ['main'],
      shares: [
        { replicas: 'version!=v2', weight: 1 },
        { replicas: 'version=v2', headerName: 'x-canary' },
      ],
    });
    for (let i = 0; i < 5; i++) expect(await servedBy(await ask(lintel, 'main'))).toBe('served-by-one');
    expect(await servedBy(await ask(lintel, 'main', { 'x-canary': 'yes' }))).toBe('served-by-two');
    told(lintel);
  });
});

describe('a fallback', () => {
  const fallbacks = [{ model: 'spare', saturated: true, gone: true }];

  test('takes over where every replica is over a named load, and not before', async () => {
    const lintel = await routedGateway({ main: [await namedEngine('main')], spare: [await namedEngine('spare')] });
    lintel.lead({ models: ['main'], fallbacks, saturated: { inflight: 4 } });
    lintel.replica('main-1').inflight = 3;
    expect(await servedBy(await ask(lintel, 'main'))).toBe('served-by-main');
    lintel.replica('main-1').inflight = 4;
    expect(await servedBy(await ask(lintel, 'main'))).toBe('served-by-spare');
    expect(told(lintel)).toMatch(/^main led to spare, since main was saturated: 1 of 1 full \(model route r v3\)/);
    lintel.replica('spare-1').inflight = 9;
    // Full everywhere: it waits where it wanted to go.
    expect(await servedBy(await ask(lintel, 'main'))).toBe('served-by-main');
    told(lintel);
  });

  test('takes over where no replica takes requests', async () => {
    const lintel = await routedGateway({ main: [await namedEngine('main')], spare: [await namedEngine('spare')] });
    lintel.lead({ models: ['main'], fallbacks });
    lintel.replica('main-1').state = 'circuit-open';
    expect(await servedBy(await ask(lintel, 'main'))).toBe('served-by-spare');
    expect(told(lintel)).toMatch(/^main led to spare, since main was gone: 0 of 1 took requests/);
    lintel.replica('spare-1').state = 'unhealthy';
    expect(await errorOf(await ask(lintel, 'main'))).toMatchObject({ code: 'no_ready_replica' });
    told(lintel);
  });

  test.each([502, 503, 500])(
    'takes over after own tries ended in %s, with its own name and features',
    async (status) => {
      const [main, spare] = [await namedEngine('main'), await namedEngine('spare')];
      main.status = status;
      const lintel = await routedGateway({ main: [main, main], spare: [spare] });
      lintel.lead({ models: ['main'], fallbacks });
      const policy = { policyId: 'p', models: ['spare'], profiles: [{ name: 'd', strategy: 'prefix-cache' }] };
      const inForce = {
        policy: create(route.RoutingPolicySchema, policy),
        source: '',
        version: 1,
        seq: 1,
        commitId: '',
      };
      lintel.state.route.policyByModel.set('spare', inForce);
      const plain = { policyId: 'q', models: ['main'], profiles: [{ name: 'd', strategy: 'random' }] };
      lintel.state.route.policyByModel.set('main', { ...inForce, policy: create(route.RoutingPolicySchema, plain) });
      const response = await ask(lintel, 'main');
      expect([response.status, await servedBy(response)]).toEqual([200, 'served-by-spare']);
      expect(JSON.parse(spare.bodies[0] as string)).toMatchObject({ model: 'spare' });
      // An engine's own 500 is not tried on its fellows.
      expect(main.bodies).toHaveLength(status === 500 ? 1 : 2);
      expect(lintel.records[0]).toMatchObject({ model: 'spare', outcome: route.Outcome.COMPLETED });
      expect(told(lintel)).toMatch(/^main led to spare, since its tries /);
    },
  );

  test('a connection that nobody takes, too; where all fails the client hears of the last', async () => {
    const dead = { origin: await deadOrigin(), bodies: [], paths: [], headers: [], status: 0 };
    const spare = await namedEngine('spare');
    const lintel = await routedGateway({ main: [dead], spare: [spare] });
    lintel.lead({ models: ['main'], fallbacks });
    expect(await servedBy(await ask(lintel, 'main'))).toBe('served-by-spare');
    spare.status = 502;
    expect(await errorOf(await ask(lintel, 'main'))).toMatchObject({
      code: 'upstream_failed',
      message: expect.stringContaining('spare-1'),
    });
    told(lintel);
    expect(lintel.records[1]?.attempts.map(({ replicaId }) => replicaId)).toEqual(['main-1', 'spare-1']);
  });

  test('is used for what it is configured for alone', async () => {
    const main = await namedEngine('main');
    const lintel = await routedGateway({ main: [main], spare: [await namedEngine('spare')] });
    lintel.lead({ models: ['main'], fallbacks: [{ model: 'spare', saturated: true }] });
    main.status = 502;
    expect((await ask(lintel, 'main')).status).toBe(502);
    main.status = 503;
    expect(await servedBy(await ask(lintel, 'main'))).toBe('served-by-spare');
    told(lintel);
  });
});

test('a response goes on where it began, whatever the canary says', async () => {
  const [main, next] = [await namedEngine('main'), await namedEngine('next')];
  const lintel = await routedGateway({ main: [main], next: [next] }, { open: false });
  const shares = [
    { model: 'main', weight: 1 },
    { model: 'next', headerName: 'x-canary' },
  ];
  lintel.lead({ models: ['gpt-4o'], shares });
  keysOf(lintel, { acme: { models: ['gpt-4o'] } });
  const respond = (more: object, headers = {}): Promise<Response> =>
    post(
      lintel as never,
      JSON.stringify({ model: 'gpt-4o', input: 'hi', ...more }),
      { authorization: 'Bearer acme', ...headers },
      '/v1/responses',
    );
  await (await respond({}, { 'x-canary': '1' })).text();
  expect(await servedBy(await respond({ previous_response_id: 'resp_next' }))).toBe('served-by-next');
  expect(told(lintel)).toMatch(/^gpt-4o led to next, which holds what it goes on from/);
  const stored = await fetch(`${lintel.url}/v1/responses/resp_next`, { headers: { authorization: 'Bearer acme' } });
  expect(await servedBy(stored)).toBe('served-by-next');
});
