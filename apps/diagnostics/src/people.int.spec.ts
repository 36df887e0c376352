import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { INestMicroservice } from '@nestjs/common';
import { EventRegistry } from '#libs/contracts';
import { emptyTenancyState, evolveTenancy, findKey, hashApiKey } from '#libs/domain/tenancy';
import type { Broker } from '#libs/event-log';
import { decodeCommit } from '#libs/event-log';
import { natsBroker } from '#libs/event-log-nats';
import { createLogger } from '#libs/observability';
import type { LaunchedNats } from '#libs/testkit';
import { launchNats } from '#libs/testkit';
import { adminKey, Api } from './api.fixture.ts';
import { apiControllers } from './diagnostics.module.ts';
import { startDeciders } from './gateway.fixture.ts';
import { limits } from './limits.ts';
import { routesOf } from './openapi/document.ts';
import type { RunningDiagnostics } from './options.ts';
import { startDiagnostics } from './start.ts';

const registry = new EventRegistry();
let nats: LaunchedNats;
let home: string;
let gatewayBroker: Broker;
let broker: Broker;
let gateway: INestMicroservice;
let running: RunningDiagnostics;
let api: Api;

const start = async (): Promise<RunningDiagnostics> =>
  await startDiagnostics({
    host: '127.0.0.1',
    port: 0,
    instance: 'test',
    home,
    broker,
    databaseUrl: undefined,
    adminKey,
    logger: createLogger({ name: 'test', level: 'silent' }),
  });

beforeAll(async () => {
  [nats, home] = await Promise.all([launchNats(), mkdtemp(join(tmpdir(), 'lintel-people-'))]);
  gatewayBroker = await natsBroker({ url: nats.urlOf('gateway'), name: 'gateway', registry });
  broker = await natsBroker({ url: nats.urlOf('diagnostics'), name: 'diagnostics', registry });
  gateway = await startDeciders(gatewayBroker);
  running = await start();
  api = new Api(running);
});

afterAll(async () => {
  await running?.stop();
  await gateway?.close();
  await broker?.close();
  await gatewayBroker?.close();
  await nats?.stop();
  await rm(home, { recursive: true, force: true });
});

/** What a gateway knows of a key. */
async function statusOf(key: string): Promise<string | undefined> {
  const state = emptyTenancyState();
  for await (const commit of broker.log.read({ fromSeq: 1 })) evolveTenancy(state, decodeCommit(commit, registry));
  return findKey(state, hashApiKey(key), Date.now())?.status;
}

const seen = async (path: string, seq: number): Promise<any> => await api.get(`${path}?minSeq=${seq}`);

describe('tenants, projects, users and keys', () => {
  test('are made, changed and read back, each change a commit that names who asked', async () => {
    const made = await api.call('PUT', '/api/v1/tenants/acme', { name: 'Acme' }, { 'x-lintel-actor': 'cli:ann' });
    expect(made).toMatchObject({ status: 200, body: { changed: true, version: 1 } });
    expect((await api.call('PUT', '/api/v1/tenants/acme', { name: 'Acme' })).body.changed).toBe(false);
    await api.call('PUT', '/api/v1/tenants/acme/projects/search', { name: 'Search' });
    const user = await api.call('PUT', '/api/v1/tenants/acme/users/ann', { project: 'search' });
    const tenant = await seen('/api/v1/tenants/acme', user.body.seq);
    expect(tenant.item).toMatchObject({
      displayName: 'Acme',
      source: 'api',
      projects: [{ projectId: 'search', displayName: 'Search', source: 'api' }],
      users: [{ userId: 'ann', projectId: 'search' }],
    });
    expect((await seen('/api/v1/tenants/acme/users', user.body.seq)).items).toHaveLength(1);
    expect((await api.get('/api/v1/tenants/acme/users/ann')).item.userId).toBe('ann');
    expect((await api.get('/api/v1/tenants/acme/projects')).items).toHaveLength(1);
    expect((await api.get('/api/v1/tenants/acme/projects/search')).item.displayName).toBe('Search');
    const page = await api.get('/api/v1/log?subject=tenancy.tenant.acme');
    expect(page.commits.map(({ actor }: { actor: string }) => actor)).toEqual([
      'cli:ann',
      'diagnostics:test',
      'diagnostics:test',
    ]);
  });

  test('a key is shown once, changed in part, rotated with an overlap, revoked', async () => {
    const wanted = { keyId: 'ci', user: 'ann', endpoints: ['/v1/audio/*'], priority: 2, expiresAt: '30d' };
    const issued = await api.call('POST', '/api/v1/tenants/acme/keys', wanted);
    expect(issued.status).toBe(201);
    const { key, seq } = issued.body;
    expect(key).toMatch(/^lk-/);
    const path = '/api/v1/tenants/acme/keys/ci';
    const { item } = await seen(path, seq);
    expect(item).toMatchObject({ projectId: 'search', userId: 'ann', priority: 2, source: 'api', overlaps: 0 });
    expect(JSON.stringify(await api.get('/api/v1/tenants/acme'))).not.toContain(hashApiKey(key));

    const changed = await api.call('PATCH', path, { models: ['sim-8b'], priority: null, expiresAt: null });
    expect((await seen(path, changed.body.seq)).item).toMatchObject({
      models: ['sim-8b'],
      endpoints: ['/v1/audio/*'],
      priority: null,
      expiresAtMs: null,
      userId: 'ann',
    });

    const rotated = await api.post(`${path}/rotate`, { overlap: '1h' });
    expect(rotated.key).not.toBe(key);
    expect([await statusOf(key), await statusOf(rotated.key)]).toEqual(['good', 'good']);
    expect((await seen(path, rotated.seq)).item.overlaps).toBe(1);
    const again = await api.post(`${path}/rotate`, { overlap: '0' });
    expect([await statusOf(key), await statusOf(rotated.key), await statusOf(again.key)]).toEqual([
      'good',
      'rotated',
      'good',
    ]);

    const revoked = await api.call('DELETE', path, { reason: 'leaked' });
    expect([await statusOf(key), await statusOf(again.key)]).toEqual(['revoked', 'revoked']);
    expect((await seen('/api/v1/tenants/acme/keys', revoked.body.seq)).items).toEqual([
      expect.objectContaining({ keyId: 'ci', revoked: true, revokeReason: 'leaked', overlaps: 0 }),
    ]);
    const after = await api.call('POST', `${path}/rotate`, {});
    expect([after.status, after.body.code]).toEqual([409, 'TENANCY_KEY_REVOKED_CONFLICT']);
  });

  test('what is removed takes its keys with it', async () => {
    const { key } = (await api.call('POST', '/api/v1/tenants/acme/keys', { keyId: 'b', user: 'ann' })).body;
    await api.call('DELETE', '/api/v1/tenants/acme/users/ann');
    expect(await statusOf(key)).toBe('revoked');
    await api.call('PUT', '/api/v1/tenants/acme/users/bob', { project: 'search' });
    const gone = await api.call('DELETE', '/api/v1/tenants/acme/projects/search', { reason: 'done' });
    expect((await seen('/api/v1/tenants/acme', gone.body.seq)).item).toMatchObject({ projects: [], users: [] });
    const other = (await api.call('POST', '/api/v1/tenants/acme/keys', { keyId: 'c' })).body;
    const removed = await api.call('DELETE', '/api/v1/tenants/acme');
    expect(await statusOf(other.key)).toBeUndefined();
    const nobody = await api.call('GET', `/api/v1/tenants/acme?minSeq=${removed.body.seq}`);
    expect([nobody.status, nobody.body.code]).toEqual([404, 'TENANT_NOT_FOUND']);
  });

  test.each([
    ['POST', '/tenants/none/keys', { keyId: 'k' }, 404, 'TENANCY_TENANT_NOT_FOUND'],
    ['PUT', '/tenants/a%20b', { name: 'x' }, 400, 'BAD_REQUEST'],
    ['PUT', '/tenants/t', { nmae: 'x' }, 400, 'BAD_REQUEST'],
    ['PATCH', '/tenants/none/keys/k', {}, 404, 'TENANT_NOT_FOUND'],
    ['DELETE', '/admin-keys/none', undefined, 404, 'TENANCY_ADMIN_KEY_NOT_FOUND'],
  ])('%s %s %j: %i %s', async (method, path, body, status, code) => {
    const answered = await api.call(method, `/api/v1${path}`, body);
    expect([answered.status, answered.body.code]).toEqual([status, code]);
    expect(answered.body.advice).toBeDefined();
  });

  test('an endpoint that there is not is told with what was meant', async () => {
    await api.call('PUT', '/api/v1/tenants/t', {});
    const wanted = { keyId: 'k', endpoints: ['/v1/chat/completion'] };
    const { status, body } = await api.call('POST', '/api/v1/tenants/t/keys', wanted);
    expect(status).toBe(400);
    expect(body.detail).toContain('did you mean "/v1/chat/completions"?');
  });
});

describe('admin keys', () => {
  test('open the API until they are revoked, and stand in the commits that they make', async () => {
    const issued = (await api.call('POST', '/api/v1/admin-keys', { keyId: 'deploys', name: 'Deploys' })).body;
    expect(issued.key).toMatch(/^la-/);
    const authorization = `Bearer ${issued.key}`;
    expect((await seen('/api/v1/admin-keys', issued.seq)).items).toMatchObject([{ keyId: 'deploys', revoked: false }]);
    const spoofed = { authorization, 'x-lintel-actor': 'cli:ann', 'x-lintel-admin-key-id': 'ann' };
    const made = await api.call('PUT', '/api/v1/tenants/by-deploys', { name: '' }, spoofed);
    expect(made.status).toBe(200);
    const { commits } = await api.get('/api/v1/log?subject=tenancy.tenant.by-deploys');
    expect(commits[0].actor).toBe('admin:deploys');
    const revoked = await api.call('DELETE', '/api/v1/admin-keys/deploys', { reason: 'left' }, { authorization });
    await seen('/api/v1/admin-keys', revoked.body.seq);
    const { status, body } = await api.call('GET', '/api/v1/tenants', undefined, { authorization });
    expect([status, body.code]).toEqual([401, 'ADMIN_KEY_UNAUTHORIZED']);
  });

  test('a tenant’s key opens nothing here', async () => {
    const { key } = (await api.call('POST', '/api/v1/tenants/t/keys', { keyId: 'k' })).body;
    expect((await api.call('GET', '/api/v1/tenants', undefined, { authorization: `Bearer ${key}` })).status).toBe(401);
  });

  test('guesses are limited: past the bound nobody from there is let in, not even with the right key', async () => {
    const own = await start();
    try {
      const guesser = new Api(own);
      const guess = (key: string) =>
        guesser.call('GET', '/api/v1/tenants', undefined, { authorization: `Bearer ${key}` });
      for (let n = 0; n < limits.guessesMax; n++) expect((await guess(`guess-${n}`)).status).toBe(401);
      const { status, body } = await guess(adminKey);
      expect([status, body.code]).toEqual([429, 'ADMIN_KEY_GUESSES_LIMITED']);
      const response = await fetch(`${own.url}/api/v1/tenants`, { headers: { authorization: 'Bearer x' } });
      expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
    } finally {
      await own.stop();
    }
  });
});

describe('GET /api/v1/openapi.json', () => {
  test('has every route, each described, with what it takes', async () => {
    const document = await api.get('/api/v1/openapi.json');
    expect(document.openapi).toBe('3.1.0');
    const routes = routesOf(apiControllers);
    expect(routes.filter(({ description }) => description === undefined)).toEqual([]);
    expect(routes.length).toBeGreaterThan(40);
    for (const { method, path } of routes) expect(document.paths[path]?.[method]?.summary).toEqual(expect.any(String));
    // The module serves these controllers and no other under /api.
    const paths = Object.entries<object>(document.paths).flatMap(([path, one]) =>
      Object.keys(one).map((method) => `${method} ${path}`),
    );
    expect(new Set(paths).size).toBe(routes.length);
    const ids = routes.map(({ method, path }) => document.paths[path][method].operationId);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { method, path } of routes) {
      const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      const given = document.paths[path][method].parameters.filter((one: { in: string }) => one.in === 'path');
      expect(given.map(({ name }: { name: string }) => name)).toEqual(named);
    }
    expect(
      document.paths['/api/v1/tenants/{tenantId}/keys'].post.requestBody.content['application/json'].schema,
    ).toMatchObject({
      type: 'object',
      required: ['keyId'],
      additionalProperties: false,
      properties: { keyId: { type: 'string', pattern: '^[A-Za-z0-9_-]{1,64}$' }, priority: expect.anything() },
    });
    expect(document.paths['/api/v1/log'].get.parameters).toContainEqual({
      name: 'after',
      in: 'query',
      required: false,
      schema: expect.objectContaining({ type: 'integer', minimum: 0 }),
    });
  });

  test('needs an admin key', async () => {
    expect((await api.call('GET', '/api/v1/openapi.json', undefined, { authorization: '' })).status).toBe(401);
  });
});
