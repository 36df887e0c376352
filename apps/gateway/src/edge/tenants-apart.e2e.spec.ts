import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { create } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { route, tenancy } from '#libs/contracts';
import { hashApiKey, tenant } from '#libs/domain/tenancy';
import { systemEnvironment } from '#libs/kernel';
import type { GatewayState } from '../control/state.ts';
import { BodyScanner } from '../serve/body/body-scanner.ts';
import { targetOf } from '../serve/endpoints.ts';
import { serveLimits } from '../serve/limits.ts';
import { chat, closeAll, engine, FakeReplica, gateway, post } from '../serve/serve.fixture.ts';
import type { TestGateway } from '../serve/serve.fixture.ts';
import { CacheSalts, cacheSalts, salted } from './cache-salt.ts';

afterEach(closeAll);

const salts = new CacheSalts('a secret of the operator');
const { rng } = systemEnvironment;

/** A tenant, and its key by the tenant's own name. */
function register(state: GatewayState, tenantId: string, cacheSalt: boolean): void {
  const key = create(tenancy.KeyIssuedSchema, { tenantId, keyId: `${tenantId}-1`, keyHash: hashApiKey(tenantId) });
  const registration = create(tenancy.TenantRegisteredSchema, { tenantId, cacheSalt });
  const issued = { key, revoked: undefined };
  state.tenancy.tenants.set(tenantId, { ...tenant.initial, registration, keys: new Map([[key.keyId, issued]]) });
  state.tenancy.keysByHash.set(key.keyHash, [issued]);
}

const as = (tenantId: string, more: Record<string, string> = {}): Record<string, string> => ({
  authorization: `Bearer ${tenantId}`,
  'routing-strategy': 'prefix-cache',
  ...more,
});

async function fleetOf(
  count: number,
  kinds: route.EngineKind[] = [],
): Promise<{ lintel: TestGateway; bodies: string[] }> {
  const bodies: string[] = [];
  const origins = await Promise.all(
    Array.from({ length: count }, () =>
      engine((sent, response) => {
        bodies.push(sent);
        response.end('{}');
      }),
    ),
  );
  const lintel = await gateway(origins, { open: false, salts });
  for (const [index, kind] of kinds.entries()) lintel.fleet.replicas[index]!.engine = kind;
  for (const id of ['salty', 'saltier']) register(lintel.state, id, true);
  for (const id of ['plain', 'plainer']) register(lintel.state, id, false);
  return { lintel, bodies };
}

const long = 'The same long prompt, word for word. '.repeat(200);
const said = { messages: [{ role: 'user', content: long }] };

describe('a tenant that wants its prompts apart', () => {
  test('has its salt put into bodies, and nothing else changed', async () => {
    const { lintel, bodies } = await fleetOf(1);
    for (const id of ['salty', 'saltier', 'plain']) await post(lintel, chat(), as(id));
    const [own, other, plain] = bodies as [string, string, string];
    const salt = salts.of('salty', '');
    expect(own).toBe(`{"cache_salt":"${salt}",${chat().slice(1)}`);
    expect(JSON.parse(other)).toMatchObject({ cache_salt: salts.of('saltier', '') });
    expect(plain).toBe(chat());
    expect(salt).not.toBe(salts.of('saltier', ''));
  });

  test("cannot be joined by naming its salt: a client's own salt counts inside its tenant alone", async () => {
    const { lintel, bodies } = await fleetOf(1);
    const salt = salts.of('salty', '');
    await post(lintel, chat({ cache_salt: salt }), as('saltier'));
    await post(lintel, chat({ cache_salt: null }), as('salty'));
    await post(lintel, chat({ cache_salt: 'mine' }), as('salty'));
    const sent = bodies.map((body) => (JSON.parse(body) as { cache_salt: string }).cache_salt);
    expect(sent).toEqual([salts.of('saltier', salt), salt, salts.of('salty', 'mine')]);
    expect(new Set(sent).size).toBe(3);
  });

  test('what another tenant sent leads none of its requests, and the other way round', async () => {
    const { lintel } = await fleetOf(4);
    const matched = async (id: string): Promise<number> => {
      await (await post(lintel, chat(said), as(id))).text();
      const record = lintel.records.at(-1)!;
      const { columns, values } = record.picks[0] as never as { columns: string[]; values: Float64Array };
      const at = columns.indexOf('prefixBlocks');
      return Math.max(...Array.from({ length: 4 }, (_, row) => values[row * columns.length + at] ?? 0));
    };
    expect(await matched('plain')).toBe(0);
    // Without the option tenants share what engines have cached.
    expect(await matched('plainer')).toBeGreaterThan(0);
    expect(await matched('salty')).toBe(0);
    expect(await matched('saltier')).toBe(0);
    expect(await matched('salty')).toBeGreaterThan(0);
  });

  test('on replicas that take no salt only what is known of their caches is kept apart', async () => {
    const { lintel, bodies } = await fleetOf(1, [route.EngineKind.LLAMA_CPP]);
    await post(lintel, chat(), as('salty'));
    lintel.fleet.replicas[0]!.labels = { 'lintel.cache-salt': 'on' };
    await post(lintel, chat(), as('salty'));
    expect([bodies[0], JSON.parse(bodies[1]!)]).toEqual([
      chat(),
      expect.objectContaining({ cache_salt: salts.of('salty', '') }),
    ]);
  });

  test('any body keeps its other bytes, and says the salt once', () => {
    const replica = new FakeReplica('r1', 'http://127.0.0.1:1');
    const { endpoint } = targetOf('/v1/chat/completions')!;
    const registration = create(tenancy.TenantRegisteredSchema, { tenantId: 't', cacheSalt: true });
    const state = { tenancy: { tenants: new Map([['t', { ...tenant.initial, registration }]]) } };
    const scanner = new BodyScanner(serveLimits);
    const plane = { salts, scanner, state: () => state as never };
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.option(fc.string()), (rest, given) => {
        const { model: _m, stream: _s, user: _u, ...free } = rest;
        const whole = { ...free, model: 'm', ...(given === null ? {} : { cache_salt: given }) };
        const body = Buffer.from(JSON.stringify(whole));
        if (scanner.scan(body, endpoint.prompts) !== undefined) return;
        const changed = salted(plane, 't', body, endpoint, [replica]);
        const salt = salts.of('t', given ?? '');
        expect(JSON.parse(changed.toString())).toEqual({
          ...(JSON.parse(body.toString()) as object),
          cache_salt: salt,
        });
        const text = changed.toString();
        const back =
          given === null
            ? text.replace(`"cache_salt":"${salt}",`, '')
            : text.replace(`"${salt}"`, () => JSON.stringify(given));
        expect(back).toBe(body.toString());
        expect([scanner.cacheSalt, scanner.model]).toEqual([salt, 'm']);
      }),
    );
  });
});

test('sessions of two tenants with one name are two', async () => {
  const { lintel } = await fleetOf(16);
  const replicas = async (id: string): Promise<(string | null)[]> => {
    const found: (string | null)[] = [];
    // One after the other: a busy replica would send a session elsewhere.
    for (let at = 0; at < 12; at++) {
      const answer = await post(
        lintel,
        chat(),
        as(id, { 'routing-strategy': 'session-affinity', 'x-session-id': `s${at}` }),
      );
      expect(answer.headers.get('x-session-id')).toBe(`s${at}`);
      found.push(answer.headers.get('target-pod'));
    }
    return found;
  };
  const [one, again, other] = [await replicas('plain'), await replicas('plain'), await replicas('plainer')];
  expect(again).toEqual(one);
  expect(other).not.toEqual(one);
});

describe('the secret of the salts', () => {
  test('is made once in the gateway’s folder, readable by it alone', async () => {
    const home = await mkdtemp(join(tmpdir(), 'lintel-salt-'));
    const first = await cacheSalts(undefined, home, rng);
    const second = await cacheSalts(undefined, home, rng);
    expect(second.of('t', '')).toBe(first.of('t', ''));
    const file = join(home, 'cache-salt-secret');
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    // Another gateway that is told the same secret gives tenants the same salts.
    const told = await cacheSalts(`file:${file}`, '/nowhere', rng);
    expect(told.of('t', '')).toBe(first.of('t', ''));
    expect((await readFile(file, 'utf8')).length).toBeGreaterThan(32);
    await rm(home, { recursive: true });
  });

  test.each(['env:NO_SUCH_VARIABLE', 'file:/nowhere/at/all'])('%s: told, not made up', async (ref) => {
    await expect(cacheSalts(ref, '/nowhere', rng)).rejects.toMatchObject({ code: 'CACHE_SALT_SECRET_INVALID' });
  });
});
