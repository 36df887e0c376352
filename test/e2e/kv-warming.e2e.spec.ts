import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { RunningEngineSim } from '../../apps/engine-sim/src/index.ts';
import { startEngineSim } from '../../apps/engine-sim/src/index.ts';
import type { RunningGateway } from '../../apps/gateway/src/index.ts';
import { startGateway } from '../../apps/gateway/src/index.ts';
import type { RunningKvIndex } from '../../apps/kv-index/src/index.ts';
import { startKvIndex } from '../../apps/kv-index/src/index.ts';
import { EventRegistry, route } from '#libs/contracts';
import { hashApiKey } from '#libs/domain/tenancy';
import type { Broker } from '#libs/event-log';
import { decodeCommit } from '#libs/event-log';
import type { NatsUser } from '#libs/event-log-nats';
import { natsBroker } from '#libs/event-log-nats';
import { createLogger } from '#libs/observability';
import type { LaunchedNats } from '#libs/testkit';
import { eventually, launchNats } from '#libs/testkit';

const model = 'tiny';
const logger = createLogger({ name: 'kv-warming-e2e', level: 'silent' });
const tuning = { reconnectMsMin: 20, reconnectMsMax: 100, replayMsMax: 500, replayWaitMs: 20, verifyMs: 100 };
const keys = { warm: 'lk-warm', salted: 'lk-salted', plain: 'lk-plain' } as const;

let nats: LaunchedNats;
let home: string;
const sims: RunningEngineSim[] = [];
const brokers: Broker[] = [];
let gateway: RunningGateway;
let kvIndex: RunningKvIndex;

const registry = new EventRegistry();
const connect = async (user: NatsUser, name: string): Promise<Broker> => {
  const broker = await natsBroker({ url: nats.urlOf(user), name, registry });
  brokers.push(broker);
  return broker;
};

let applied = 0;
async function apply(): Promise<void> {
  await gateway.apply(
    {
      replicas: sims.map((sim, at) => ({
        replicaId: `engine-${at}`,
        url: sim.url,
        engine: route.EngineKind.VLLM,
        models: [model],
        labels: {
          at: String(at),
          'lintel.kv-events': `tcp://127.0.0.1:${sim.kvEvents?.port ?? 0}`,
          'lintel.kv-events-replay': `tcp://127.0.0.1:${sim.kvEvents?.replayPort ?? 0}`,
        },
      })),
      policies: [],
      tenants: Object.entries(keys).map(([id, key]) => ({
        tenantId: id,
        displayName: id,
        ...(id === 'plain' ? {} : { warm: true }),
        ...(id === 'salted' ? { cacheSalt: true } : {}),
        keys: [{ keyId: `${id}-key`, keyHash: hashApiKey(key) }],
      })),
    },
    { source: 'test', contentHash: `test-${applied++}` },
  );
}

const addEngine = async (): Promise<void> => {
  sims.push(await startEngineSim({ models: [model], speed: 200, blocks: 2_000, kvEvents: {} }));
};

/** Token ids that no other topic has. */
const prompt = (topic: number, tokens: number): number[] =>
  Array.from({ length: tokens }, (_, at) => 100 + topic * 1_000 + ((at * 7) % 900));

async function ask(tenant: keyof typeof keys, tokens: readonly number[], at?: number): Promise<number> {
  const response = await fetch(`${gateway.url}/v1/completions`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      authorization: `Bearer ${keys[tenant]}`,
      ...(at === undefined ? {} : { 'external-filter': `at=${at}` }),
    },
    body: JSON.stringify({ model, prompt: tokens, max_tokens: 2 }),
  });
  expect(response.status).toBe(200);
  const { usage } = (await response.json()) as { usage: { prompt_tokens_details: { cached_tokens: number } | null } };
  return usage.prompt_tokens_details?.cached_tokens ?? 0;
}

const metric = async (name: string): Promise<number> =>
  (await gateway.metrics())
    .split('\n')
    .filter((line) => line.startsWith(name) && !line.startsWith('#'))
    .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);

async function warmings(): Promise<route.ReplicaWarmed[]> {
  const found: route.ReplicaWarmed[] = [];
  const [, , broker] = brokers as [Broker, Broker, Broker];
  for await (const stored of broker.log.read({ fromSeq: 1, subjects: ['lintel.ev.route.replica.>'] })) {
    for (const { type, data } of decodeCommit(stored, registry).events) {
      if (type === 'ReplicaWarmed') found.push(data as route.ReplicaWarmed);
    }
  }
  return found;
}

beforeAll(async () => {
  nats = await launchNats();
  home = await mkdtemp(join(tmpdir(), 'lintel-warm-'));
  await addEngine();
  gateway = await startGateway({
    host: '127.0.0.1',
    port: 0,
    instance: 'gw-1',
    home,
    broker: await connect('gateway', 'gw-1'),
    open: false,
    logger,
  });
  await apply();
  kvIndex = await startKvIndex({
    host: '127.0.0.1',
    port: 0,
    instance: 'kv-1',
    broker: await connect('kv', 'kv-1'),
    adminKey: 'la-test',
    logger,
    tuning,
  });
  await connect('gateway', 'reader');
});
afterAll(async () => {
  await gateway?.stop();
  await kvIndex?.stop();
  for (const sim of sims) await sim.stop();
  for (const broker of brokers) await broker.close();
  await nats?.stop();
  await rm(home, { recursive: true, force: true });
});

describe('a replica that comes new', () => {
  test('has the prefixes that its tenants allow before its first request, and only those', async () => {
    // The index must know the first engine before a prompt's tokens are looked at.
    await eventually(async () => {
      await ask('plain', prompt(9, 40));
      expect(await metric('lintel_gateway_kv_answers{')).toBeGreaterThan(0);
    });
    for (let n = 0; n < 10; n++) {
      await ask('warm', [...prompt(1, 600), ...prompt(10 + n, 30)]);
      await ask('salted', [...prompt(2, 300), ...prompt(10 + n, 30)]);
      await ask('plain', [...prompt(3, 600), ...prompt(10 + n, 30)]);
    }
    expect(await metric('lintel_gateway_kv_warming_prefixes')).toBe(2);

    await addEngine();
    await apply();
    await eventually(async () => expect(await warmings()).toHaveLength(1), 15_000);
    const [warmed] = (await warmings()) as [route.ReplicaWarmed];
    expect(warmed).toMatchObject({ replicaId: 'engine-1', gatewayId: 'gw-1', because: 'new', ended: 'done' });
    expect(warmed).toMatchObject({ heldBlocks: 0, blockTokens: 16 });
    const told = warmed.prefixes.map(({ tenantId, tokens, outcome, cachedTokens }) => [
      tenantId,
      tokens,
      outcome,
      cachedTokens,
    ]);
    expect(told).toEqual([
      ['warm', 512, 'computed', 0],
      ['salted', 256, 'computed', 0],
    ]);
    for (const { asks } of warmed.prefixes) expect(asks).toBeGreaterThan(8);
    const why = await fetch(`${kvIndex.url}/api/v1/kv/block?hash=${warmed.prefixes[0]?.hash ?? ''}`, {
      headers: { authorization: 'Bearer la-test' },
    });
    expect((await why.json()) as object).toMatchObject({
      places: [
        { replica: 'engine-0', medium: 'device' },
        { replica: 'engine-1', medium: 'device' },
      ],
    });

    // Its first requests of clients.
    expect(await ask('warm', [...prompt(1, 600), ...prompt(40, 30)], 1)).toBe(512);
    expect(await ask('salted', [...prompt(2, 300), ...prompt(40, 30)], 1)).toBe(256);
    // Neither was anything computed for who did not allow it, nor is the salted one's anybody else's.
    expect(await ask('plain', [...prompt(3, 600), ...prompt(40, 30)], 1)).toBe(0);
    expect(await ask('plain', [...prompt(2, 300), ...prompt(40, 30)], 1)).toBe(0);
    expect(await metric('lintel_gateway_kv_warming_replicas{result="warmed:done"')).toBe(1);
  }, 60_000);

  test('one whose cache was cleared is warmed again', async () => {
    const { url } = sims[0] as RunningEngineSim;
    const cleared = await fetch(`${url}/reset_prefix_cache`, { method: 'POST' });
    expect(cleared.status).toBe(200);
    // An engine tells of it with its next step.
    await ask('plain', prompt(50, 40), 0);
    await eventually(async () => expect(await warmings()).toHaveLength(2), 15_000);
    expect((await warmings())[1]).toMatchObject({ replicaId: 'engine-0', because: 'cleared', ended: 'done' });
    expect(await ask('warm', [...prompt(1, 600), ...prompt(41, 30)], 0)).toBe(512);
  }, 30_000);
});
