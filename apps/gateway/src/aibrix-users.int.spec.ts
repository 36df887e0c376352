import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { EventRegistry } from '#libs/contracts';
import { memoryBroker } from '#libs/event-log';
import { systemEnvironment } from '#libs/kernel';
import { createLogger } from '#libs/observability';
import { eventually } from '#libs/testkit';
import { chat, desired, ready } from './gateway.fixture.ts';
import type { RunningGateway } from './gateway.ts';
import { startGateway } from './gateway.ts';
import type { TinyEngine } from './tiny-engine.fixture.ts';
import { tinyEngine } from './tiny-engine.fixture.ts';

let home: string;
let engine: TinyEngine;
let gateway: RunningGateway;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'lintel-aibrix-users-'));
  engine = await tinyEngine();
  gateway = await startGateway({
    host: '127.0.0.1',
    port: 0,
    instance: 'g1',
    home,
    broker: memoryBroker(systemEnvironment, new EventRegistry()),
    open: true,
    compat: 'aibrix',
    adminKey: 'the-admin-key',
    logger: createLogger({ name: 'gateway', level: 'silent' }),
  });
  await gateway.apply(desired([{ replicaId: 'a', url: engine.url, models: ['tiny'] }]), {
    source: 'config:test',
    contentHash: 'a'.repeat(64),
  });
  await eventually(async () => expect((await ready(gateway.url)).ready).toBe(true));
});

afterAll(async () => {
  await gateway?.stop();
  await engine?.kill();
  await rm(home, { recursive: true, force: true });
});

async function users(call: string, body: unknown, key = 'the-admin-key'): Promise<{ status: number; body: any }> {
  const response = await fetch(`${gateway.url}/${call}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(key === '' ? {} : { authorization: `Bearer ${key}` }) },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: await response.json() };
}

test('users are made, read, changed and removed as with AIBrix, by who has the admin key', async () => {
  expect((await users('CreateUser', { name: 'ann', rpm: 2, tpm: 5 }, '')).status).toBe(401);
  expect((await users('CreateUser', { name: 'ann', rpm: 2, tpm: 5 }, 'guess')).status).toBe(401);
  expect(await users('ReadUser', { name: 'ann' })).toMatchObject({ status: 404, body: { code: 'USER_NOT_FOUND' } });
  const made = await users('CreateUser', { name: 'ann', rpm: 3, tpm: 50_000 });
  expect(made).toMatchObject({ status: 200, body: { user: { name: 'ann', rpm: 3, tpm: 50_000 } } });
  const again = await users('CreateUser', { name: 'ann', rpm: 9, tpm: 9 });
  expect(again.body).toEqual({ message: 'User ann exists already', user: { name: 'ann', rpm: 3, tpm: 50_000 } });
  expect((await users('UpdateUser', { name: 'nobody', rpm: 1 })).status).toBe(404);
  expect((await users('UpdateUser', { name: 'ann', rpm: 2 })).body.user).toEqual({ name: 'ann', rpm: 2, tpm: 2_000 });
  expect((await users('ReadUser', { name: 'ann' })).body.user).toEqual({ name: 'ann', rpm: 2, tpm: 2_000 });
  for (const bad of [{}, { name: '' }, { name: 'x', rpm: -1 }, { name: 'x', tpm: 'many' }, []]) {
    expect((await users('CreateUser', bad)).body.code).toBe('USER_INVALID');
  }
});

test('an unknown user is 401 with AIBrix’s marker; a known one comes under its limits, and is told of them', async () => {
  const unknown = await chat(gateway.url, {}, { user: 'nobody' });
  expect([unknown.status, unknown.headers.get('x-error-user')]).toEqual([401, 'true']);
  expect(((await unknown.json()) as { error: { code: string } }).error.code).toBe('unknown_user');
  expect((await chat(gateway.url)).status).toBe(200);
  await users('CreateUser', { name: 'bob', rpm: 2, tpm: 0 });
  // A minute may end between the first two.
  let response: Response;
  let refused = 0;
  for (let n = 0; n < 6 && refused === 0; n++) {
    response = await chat(gateway.url, { max_tokens: 1 }, { user: 'bob' });
    await response.text();
    if (response.status === 429) {
      refused = n;
      expect(response.headers.get('x-error-rpm-exceeded')).toBe('true');
      expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
    } else {
      expect(response.status).toBe(200);
      expect(Number(response.headers.get('x-update-rpm'))).toBeGreaterThan(0);
      expect(response.headers.get('x-update-tpm')).not.toBeNull();
    }
  }
  expect(refused).toBeGreaterThanOrEqual(2);
  expect((await users('DeleteUser', { name: 'bob' })).status).toBe(200);
  expect((await chat(gateway.url, {}, { user: 'bob' })).status).toBe(401);
  expect((await users('DeleteUser', { name: 'bob' })).status).toBe(404);
});
