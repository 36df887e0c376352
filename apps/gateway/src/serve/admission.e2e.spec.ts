import { afterEach, describe, expect, test } from '@jest/globals';
import { create } from '@bufbuild/protobuf';
import { route, tenancy } from '#libs/contracts';
import { hashApiKey } from '#libs/domain/tenancy';
import type { IssuedKey } from '#libs/domain/tenancy';
import type { TestGateway } from './serve.fixture.ts';
import { chat, closeAll, engine, errorOf, gateway, post } from './serve.fixture.ts';

const { Outcome } = route;

afterEach(closeAll);

const seen: Record<string, unknown>[] = [];
const echo = (): Promise<string> =>
  engine((_body, response, { headers }) => {
    seen.push(headers);
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  });

function issue(
  { state }: TestGateway,
  key: string,
  more: Partial<Pick<tenancy.KeyIssued, 'models' | 'expiresAtMs' | 'endpoints' | 'projectId' | 'userId'>> = {},
  revoked?: string,
): void {
  const keyHash = hashApiKey(key);
  const issued: IssuedKey = {
    key: create(tenancy.KeyIssuedSchema, { tenantId: 'acme', keyId: `id-${key}`, keyHash, ...more }),
    revoked,
  };
  state.tenancy.keysByHash.set(keyHash, [issued]);
}

const bearer = (key: string): Record<string, string> => ({ authorization: `Bearer ${key}` });

describe('keys', () => {
  test('L23 name the tenant in the record; the engine gets its own key, never the client’s', async () => {
    const lintel = await gateway([await echo()], { open: false });
    issue(lintel, 'good');
    lintel.fleet.replicas[0]!.credential = 'of-the-engine';
    seen.length = 0;
    expect((await post(lintel, chat(), bearer('good'))).status).toBe(200);
    expect(seen[0]!['authorization']).toBe('Bearer of-the-engine');
    lintel.fleet.replicas[0]!.credential = undefined;
    await post(lintel, chat(), bearer('good'));
    expect(seen[1]).not.toHaveProperty('authorization');
    expect(await lintel.record()).toMatchObject({ tenantId: 'acme', keyId: 'id-good' });
  });

  test('the record tells project and user of the key', async () => {
    const lintel = await gateway([await echo()], { open: false });
    issue(lintel, 'good', { projectId: 'search', userId: 'ann' });
    await post(lintel, chat(), bearer('good'));
    expect(await lintel.record()).toMatchObject({ keyId: 'id-good', projectId: 'search', userId: 'ann' });
  });

  test('a key calls only the endpoints of its scope; models are anybody’s', async () => {
    const lintel = await gateway([await echo()], { open: false });
    issue(lintel, 'scoped', { endpoints: ['/v1/completions', '/v1/audio/*'] });
    const refused = await post(lintel, chat(), bearer('scoped'));
    expect(refused.status).toBe(403);
    expect(await errorOf(refused)).toMatchObject({
      code: 'endpoint_not_allowed',
      type: 'permission_error',
      message: 'The API key may not call /v1/chat/completions. Use a key whose scope has that endpoint, or ask for it.',
    });
    expect(await lintel.record()).toMatchObject({ outcome: Outcome.REJECTED_AUTH, keyId: 'id-scoped', attempts: [] });
    const models = await fetch(`${lintel.url}/v1/models`, { headers: bearer('scoped') });
    expect(models.status).toBe(200);
    const allowed = await post(
      lintel,
      JSON.stringify({ model: 'tiny', prompt: 'x' }),
      bearer('scoped'),
      '/v1/completions',
    );
    expect(allowed.status).toBe(200);
  });

  test('a rotated key works until its overlap ends, and is then told apart from one never known', async () => {
    const lintel = await gateway([await echo()], { open: false });
    issue(lintel, 'new');
    const [issued] = lintel.state.tenancy.keysByHash.get(hashApiKey('new')) as [IssuedKey];
    const former = (key: string, untilMs: number): void => {
      const keyHash = hashApiKey(key);
      const previous = [...(issued.previous ?? []), { keyHash, untilMs }];
      lintel.state.tenancy.keysByHash.set(keyHash, [{ ...issued, previous }]);
    };
    former('overlapping', 8e15);
    former('over', 1);
    expect((await post(lintel, chat(), bearer('overlapping'))).status).toBe(200);
    const refused = await post(lintel, chat(), bearer('over'));
    expect(refused.status).toBe(401);
    expect((await errorOf(refused)).message).toBe(
      'The API key was rotated, and its overlap has ended. Use the new one.',
    );
  });

  test.each([
    ['none', {}, 'missing_api_key'],
    ['another scheme', { authorization: 'Basic abc' }, 'missing_api_key'],
    ['unknown', bearer('nope'), 'invalid_api_key'],
    ['revoked', bearer('revoked'), 'invalid_api_key'],
    ['expired', bearer('expired'), 'invalid_api_key'],
  ])('%s: 401 as OpenAI says it, recorded', async (_name, headers, code) => {
    const lintel = await gateway([await echo()], { open: false });
    issue(lintel, 'revoked', {}, 'leaked');
    issue(lintel, 'expired', { expiresAtMs: 1 });
    const response = await post(lintel, chat(), headers as Record<string, string>);
    expect(response.status).toBe(401);
    expect(response.headers.get('www-authenticate')).toBe('Bearer');
    const error = await errorOf(response);
    expect(error).toMatchObject({ code, type: 'authentication_error' });
    expect(await lintel.record()).toMatchObject({
      requestId: response.headers.get('x-lintel-request-id'),
      outcome: Outcome.REJECTED_AUTH,
      httpStatus: 401,
      errorCode: code,
      attempts: [],
    });
  });

  test('may be bound to models, also in the list of them', async () => {
    const lintel = await gateway([await echo()], { open: false });
    issue(lintel, 'bound', { models: ['other'] });
    const response = await post(lintel, chat(), bearer('bound'));
    expect([response.status, (await errorOf(response)).code]).toEqual([403, 'model_not_allowed']);
    const list = await fetch(`${lintel.url}/v1/models`, { headers: bearer('bound') });
    expect(await list.json()).toEqual({ object: 'list', data: [] });
    expect((await fetch(`${lintel.url}/v1/models`)).status).toBe(401);
  });
});

describe('models', () => {
  test('are listed and shown from the fleet', async () => {
    const lintel = await gateway([await echo()]);
    lintel.fleet.served.push({ id: 'org/lora', parent: 'tiny', maxModelLen: undefined });
    const { data } = (await (await fetch(`${lintel.url}/v1/models`)).json()) as { data: { id: string }[] };
    expect(data.map(({ id }) => id)).toEqual(['tiny', 'org/lora']);
    for (const path of ['org/lora', 'org%2Flora']) {
      const response = await fetch(`${lintel.url}/v1/models/${path}`);
      expect(await response.json()).toMatchObject({ id: 'org/lora', object: 'model', parent: 'tiny' });
    }
    expect((await fetch(`${lintel.url}/v1/models/nope`)).status).toBe(404);
    expect((await fetch(`${lintel.url}/v1/models/%ff`)).status).toBe(400);
    expect((await fetch(`${lintel.url}/v1/models`, { method: 'POST', body: '{}' })).status).toBe(405);
  });

  test('unknown: 404, 400 in compat, 503 while replicas have not spoken yet', async () => {
    const body = chat({ model: 'tinny' });
    const lintel = await gateway([await echo()]);
    const unknown = await post(lintel, body);
    expect(unknown.status).toBe(404);
    expect(await errorOf(unknown)).toMatchObject({
      code: 'model_not_found',
      param: 'model',
      message: expect.stringContaining('"tiny"'),
    });
    expect(unknown.headers.get('x-error-no-model-backends')).toBe('tinny');
    lintel.fleet.settling = true;
    const settling = await post(lintel, body);
    expect([settling.status, settling.headers.get('retry-after')]).toEqual([503, '1']);
    const compat = await gateway([await echo()], { compat: 'aibrix' });
    expect((await post(compat, body)).status).toBe(400);
    expect((await compat.record()).outcome).toBe(Outcome.REJECTED_MODEL);
  });

  test('without a ready replica: 503 that says why; one that has not answered yet is asked last', async () => {
    const origin = await echo();
    const lintel = await gateway([origin, origin]);
    lintel.fleet.replicas[0]!.state = 'unhealthy';
    lintel.fleet.replicas[1]!.state = 'unknown';
    expect((await post(lintel, chat())).headers.get('target-pod')).toBe('r2');
    lintel.fleet.replicas[1]!.state = 'draining';
    const response = await post(lintel, chat());
    expect(response.status).toBe(503);
    expect(response.headers.get('retry-after')).not.toBeNull();
    expect(response.headers.get('x-error-no-model-backends')).toBe('tiny');
    expect((await errorOf(response)).message).toContain('1 unhealthy, 1 draining');
    expect(lintel.records.at(-1)).toMatchObject({ outcome: Outcome.REJECTED_NO_REPLICA, picks: [] });
  });
});

describe('routing by header', () => {
  test('strategy: known ones are used and told, unknown ones refused with a suggestion', async () => {
    const lintel = await gateway([await echo()]);
    const known = await post(lintel, chat(), { 'routing-strategy': 'least-request:2,random:1' });
    expect(known.headers.get('routing-strategy')).toBe('least-request:2,random:1');
    const unknown = await post(lintel, chat(), { 'routing-strategy': 'least-requst' });
    expect([unknown.status, unknown.headers.get('x-error-invalid-routing-strategy')]).toEqual([400, 'true']);
    expect((await errorOf(unknown)).message).toContain('least-request');
  });

  test('external-filter chooses among replicas by their labels', async () => {
    const origin = await echo();
    const lintel = await gateway([origin, origin, origin]);
    const [first, second, third] = lintel.fleet.replicas;
    Object.assign(first!.labels, { tier: 'gold', zone: 'a' });
    Object.assign(second!.labels, { tier: 'gold', zone: 'b', canary: 'yes' });
    Object.assign(third!.labels, { zone: 'c' });
    const target = async (filter: string): Promise<string | null> =>
      (await post(lintel, chat(), { 'external-filter': filter })).headers.get('target-pod');
    expect(await target('tier=gold,zone in (a, x)')).toBe('r1');
    expect(await target('canary')).toBe('r2');
    expect(await target('tier!=gold')).toBe('r3');
    expect(await target('zone notin (a,c)')).toBe('r2');
    expect(await target('!canary,tier==gold')).toBe('r1');
    const none = await post(lintel, chat(), { 'external-filter': 'tier=lead' });
    expect([none.status, (await errorOf(none)).code]).toEqual([503, 'no_replica_selected']);
    const broken = await post(lintel, chat(), { 'external-filter': 'tier in gold' });
    expect([broken.status, (await errorOf(broken)).code]).toEqual([400, 'invalid_external_filter']);
  });

  test('a session stays on its replica, and one is made where none was named', async () => {
    const origin = await echo();
    const lintel = await gateway([origin, origin, origin]);
    const affinity = { 'routing-strategy': 'session-affinity' };
    const first = await post(lintel, chat(), affinity);
    const session = first.headers.get('x-session-id')!;
    expect(session).not.toBe('');
    for (let turn = 0; turn < 5; turn++) {
      const next = await post(lintel, chat(), { ...affinity, 'x-session-id': session });
      expect([next.headers.get('target-pod'), next.headers.get('x-session-id')]).toEqual([
        first.headers.get('target-pod'),
        session,
      ]);
    }
  });

  test('a prompt goes back to the replica that saw its prefix', async () => {
    const origin = await echo();
    const lintel = await gateway([origin, origin, origin]);
    const messages = [{ role: 'user', content: 'prefix '.repeat(200) }];
    const first = await post(lintel, chat({ messages }));
    for (let turn = 0; turn < 4; turn++) {
      const longer = [...messages, { role: 'assistant', content: String(turn) }];
      const next = await post(lintel, chat({ messages: longer }));
      expect(next.headers.get('target-pod')).toBe(first.headers.get('target-pod'));
    }
    expect(lintel.records[1]!.features!.prefixBlocks).toBeGreaterThan(5);
    const metrics = await lintel.registry.metrics();
    expect(metrics).toMatch(/lintel_gateway_prefix_blocks_total\{kind="matched"\} [1-9]/);
  });

  test("a profile's requests per second", async () => {
    const lintel = await gateway([await echo()]);
    lintel.state.route.policyByModel.set('tiny', {
      policy: create(route.RoutingPolicySchema, {
        policyId: 'p',
        models: ['tiny'],
        profiles: [{ name: 'slow', strategy: 'random', requestsPerSecond: 2 }],
      }),
      source: 'test',
      version: 3,
      seq: 5,
      commitId: 'c',
    });
    const answers = await Promise.all([1, 2, 3].map(() => post(lintel, chat())));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 429]);
    const limited = answers.find(({ status }) => status === 429)!;
    expect(limited.headers.get('x-error-model-rps-exceeded')).toBe('true');
    expect(answers.find(({ status }) => status === 200)!.headers.get('x-aibrix-config-profile')).toBe('slow');
    const record = lintel.records.find(({ outcome }) => outcome === Outcome.COMPLETED)!;
    expect(record.picks[0]!.pipeline).toMatchObject({ policyId: 'p', policyVersion: 3, policySeq: 5 });
  });
});

test('seeds count up, so that round-robin goes round', async () => {
  const origin = await echo();
  const lintel = await gateway([origin, origin, origin]);
  const targets: (string | null)[] = [];
  for (let turn = 0; turn < 6; turn++) {
    targets.push((await post(lintel, chat(), { 'routing-strategy': 'round-robin' })).headers.get('target-pod'));
  }
  expect(new Set(targets.slice(0, 3)).size).toBe(3);
  expect(targets.slice(3)).toEqual(targets.slice(0, 3));
});
