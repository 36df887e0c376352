import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { RunningEngineSim } from '../../apps/engine-sim/src/index.ts';
import { startEngineSim } from '../../apps/engine-sim/src/index.ts';
import type { RunningGateway } from '../../apps/gateway/src/index.ts';
import { startGateway } from '../../apps/gateway/src/index.ts';
import { recordsOf } from '../../apps/gateway/src/gateway.fixture.ts';
import type { RunningKvIndex } from '../../apps/kv-index/src/index.ts';
import { startKvIndex } from '../../apps/kv-index/src/index.ts';
import { EventRegistry, route } from '#libs/contracts';
import type { Broker } from '#libs/event-log';
import type { NatsUser } from '#libs/event-log-nats';
import { natsBroker } from '#libs/event-log-nats';
import { createLogger } from '#libs/observability';
import type { LaunchedNats } from '#libs/testkit';
import { eventually, launchNats } from '#libs/testkit';

const model = 'tiny';
const blockSize = 16;
/** Small, so that prompts push each other out. */
const blocks = 60;
const logger = createLogger({ name: 'kv-index-e2e', level: 'silent' });
const tuning = { reconnectMsMin: 20, reconnectMsMax: 100, replayMsMax: 500, replayWaitMs: 20, verifyMs: 100 };

let nats: LaunchedNats;
let home: string;
const sims: RunningEngineSim[] = [];
const brokers: Broker[] = [];
let gatewayBroker: Broker;
let gateway: RunningGateway;
let kvIndex: RunningKvIndex;

const connect = async (user: NatsUser, name: string): Promise<Broker> => {
  const broker = await natsBroker({ url: nats.urlOf(user), name, registry: new EventRegistry() });
  brokers.push(broker);
  return broker;
};
const startSim = async (ports: { port?: number; replayPort?: number } = {}): Promise<RunningEngineSim> =>
  await startEngineSim({ models: [model], speed: 200, blocks, blockSize, kvEvents: ports });
const startIndex = async (instance: string): Promise<RunningKvIndex> =>
  await startKvIndex({
    host: '127.0.0.1',
    port: 0,
    instance,
    broker: await connect('kv', instance),
    adminKey: 'la-test',
    logger,
    tuning,
  });
const begin = async (instance: string): Promise<RunningGateway> => {
  gatewayBroker = await connect('gateway', instance);
  const running = await startGateway({
    host: '127.0.0.1',
    port: 0,
    instance,
    home: join(home, instance),
    broker: gatewayBroker,
    open: true,
    logger,
  });
  await running.apply(
    {
      replicas: sims.map((sim, at) => ({
        replicaId: `engine-${at}`,
        url: sim.url,
        engine: route.EngineKind.VLLM,
        models: [model],
        labels: {
          'lintel.kv-events': `tcp://127.0.0.1:${sim.kvEvents?.port ?? 0}`,
          'lintel.kv-events-replay': `tcp://127.0.0.1:${sim.kvEvents?.replayPort ?? 0}`,
        },
      })),
      policies: [
        {
          policyId: 'default',
          models: ['*'],
          defaultProfile: 'default',
          profiles: [{ name: 'default', strategy: 'prefix-cache' }],
        },
      ],
      tenants: [],
    },
    { source: 'test', contentHash: 'test' },
  );
  return running;
};

const prompt = (topic: number, words: number): number[] =>
  Array.from({ length: words }, (_, at) => 100 + ((topic * 37 + at * 7) % 300));

async function ask(tokens: readonly number[]): Promise<number> {
  const response = await fetch(`${gateway.url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model, prompt: tokens, max_tokens: 4 }),
  });
  expect(response.status).toBe(200);
  const { usage } = (await response.json()) as {
    usage: { prompt_tokens_details: { cached_tokens: number } | null };
  };
  return usage.prompt_tokens_details?.cached_tokens ?? 0;
}

const metric = async (running: RunningGateway, name: string): Promise<number> =>
  (await running.metrics())
    .split('\n')
    .filter((line) => line.startsWith(name) && !line.startsWith('#'))
    .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
const kvMetric = async (running: RunningKvIndex, name: string): Promise<number> =>
  Number(
    (await (await fetch(`${running.url}/metrics`)).text())
      .split('\n')
      .find((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
      ?.split(' ')
      .at(-1),
  );
const events = async (): Promise<number> => await metric(gateway, 'lintel_gateway_kv_events');

/** What engines said so far is folded by the gateway: its events stay the same over two words of who follows them. */
async function settled(): Promise<void> {
  for (let before = -1, now = await events(); before !== now; before = now, now = await events()) {
    await new Promise((done) => void globalThis.setTimeout(done, 30));
  }
}

beforeAll(async () => {
  nats = await launchNats();
  home = await mkdtemp(join(tmpdir(), 'lintel-kv-'));
  sims.push(await startSim(), await startSim());
  gateway = await begin('gw-1');
  kvIndex = await startIndex('kv-1');
  await eventually(async () => expect(await kvMetric(kvIndex, 'lintel_kv_index_replicas_exact')).toBe(2));
});
afterAll(async () => {
  await gateway?.stop();
  await kvIndex?.stop();
  for (const sim of sims) await sim.stop();
  for (const broker of brokers) await broker.close();
  await nats?.stop();
  await rm(home, { recursive: true, force: true });
});

describe('engines, kv-index, broker and gateway', () => {
  test('the gateway expects the cached tokens that the engine then reports, with evictions', async () => {
    let hits = 0;
    for (let n = 0; n < 40; n++) {
      if ((await ask(prompt(n % 6, 100 + (n % 5) * 40))) > 0) hits++;
      await settled();
    }
    expect(hits).toBeGreaterThan(5);
    const answers = await metric(gateway, 'lintel_gateway_kv_answers{');
    expect(answers).toBeGreaterThan(30);
    expect(await metric(gateway, 'lintel_gateway_kv_answers_equal{')).toBe(answers);
    await eventually(async () => {
      const picks = (await recordsOf(gatewayBroker, 'gw-1')).flatMap((record) => record.picks);
      expect(picks.filter(({ prefixSource }) => prefixSource === route.PrefixSource.KV_EVENTS)).toHaveLength(answers);
    });
  });

  test('the bus answers what each replica holds, and who holds a block', async () => {
    const asker = await connect('diagnostics', 'asker');
    const question = async (name: string, asked: object): Promise<Record<string, unknown>> => {
      const bytes = Buffer.from(JSON.stringify(asked));
      const answer = await asker.requester.request(`lintel.q.kv.${name}`, bytes, { deadlineMs: 5_000 });
      return JSON.parse(Buffer.from(answer.bytes).toString()) as Record<string, unknown>;
    };
    const { replicas } = (await question('Replicas', {})) as { replicas: { replica: string; blocks: number }[] };
    expect(replicas.map(({ replica }) => replica)).toEqual(['engine-0', 'engine-1']);
    expect(replicas.some(({ blocks: held }) => held > 0)).toBe(true);
    const top = (await question('Top', { limit: 1 })) as { blocks: { hash: string; replicas: string[] }[] };
    const block = (await question('Block', { hash: top.blocks[0]?.hash })) as { places: { replica: string }[] };
    expect(block.places.map(({ replica }) => replica)).toEqual(top.blocks[0]?.replicas);
    await expect(question('Block', { hash: 'a text' })).rejects.toMatchObject({ code: 'BAD_REQUEST' });
  });

  test('asked as Mooncake is: how many tokens of a prompt each replica has', async () => {
    const tokens = prompt(70, 200);
    await ask(tokens);
    await settled();
    const query = async (body: object, key = 'la-test'): Promise<[number, Record<string, never>]> => {
      const response = await fetch(`${kvIndex.url}/query`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
        body: JSON.stringify(body),
      });
      return [response.status, (await response.json()) as Record<string, never>];
    };
    const asked = { model, token_ids: tokens, block_size: blockSize };
    const [status, { default: found = {} }] = await query(asked);
    expect(status).toBe(200);
    const depths = Object.values(found as Record<string, { longest_matched: number; GPU: number; DP: object }>);
    const whole = Math.floor(tokens.length / blockSize) * blockSize;
    expect(depths).toHaveLength(2);
    expect(Math.max(...depths.map(({ GPU }) => GPU))).toBe(whole);
    expect(depths.find(({ GPU }) => GPU === whole)).toMatchObject({ longest_matched: whole, DP: { '0': whole } });
    expect(await query({ ...asked, lora_name: 'other' })).toMatchObject([
      200,
      { default: { 'engine-0': { GPU: 0 }, 'engine-1': { GPU: 0 } } },
    ]);
    expect(await query({ ...asked, instance_id: 'engine-1' })).toMatchObject([200, { default: { 'engine-1': {} } }]);
    expect(await query({ ...asked, block_size: 7 })).toMatchObject([
      400,
      { detail: expect.stringContaining(`${blockSize} tokens`) },
    ]);
    expect((await query({ ...asked, token_ids: ['a'] }))[0]).toBe(400);
    expect((await query(asked, 'no'))[0]).toBe(401);
  });

  test('a gateway that starts is exact within seconds, by snapshots', async () => {
    await gateway.stop();
    gateway = await begin('gw-2');
    await eventually(async () => expect(await metric(gateway, 'lintel_gateway_kv_snapshots')).toBeGreaterThan(1));
    await ask(prompt(50, 200));
    await settled();
    expect(await ask(prompt(50, 200))).toBeGreaterThan(100);
    const answers = await metric(gateway, 'lintel_gateway_kv_answers{');
    expect(answers).toBe(2);
    expect(await metric(gateway, 'lintel_gateway_kv_answers_equal{')).toBe(answers);
  });

  test('another kv-index takes over where the first one ended', async () => {
    const second = await startIndex('kv-2');
    expect(await kvMetric(second, 'lintel_kv_index_replicas_led')).toBe(0);
    await kvIndex.stop();
    kvIndex = second;
    await eventually(async () => expect(await kvMetric(second, 'lintel_kv_index_replicas_led')).toBe(2), 20_000);
    const resets = await metric(gateway, 'lintel_gateway_kv_resets');
    await ask(prompt(60, 200));
    await settled();
    expect(await ask(prompt(60, 200))).toBeGreaterThan(100);
    // It went on at the engine's sequence: nothing became void.
    expect(await metric(gateway, 'lintel_gateway_kv_resets')).toBe(resets);
    const answers = await metric(gateway, 'lintel_gateway_kv_answers{');
    expect(await metric(gateway, 'lintel_gateway_kv_answers_equal{')).toBe(answers);
  }, 60_000);

  test('an engine that starts again holds nothing, and is exact again', async () => {
    const sim = sims[0] as RunningEngineSim;
    const kvEvents = sim.kvEvents as { port: number; replayPort: number };
    const resets = await metric(gateway, 'lintel_gateway_kv_resets');
    await sim.stop();
    await eventually(async () => {
      sims[0] = await startEngineSim({ models: [model], speed: 200, blocks, blockSize, kvEvents, port: sim.port });
    });
    await eventually(
      async () => expect(await metric(gateway, 'lintel_gateway_kv_resets')).toBeGreaterThan(resets),
      20_000,
    );
    await eventually(async () => expect(await kvMetric(kvIndex, 'lintel_kv_index_replicas_exact')).toBe(2), 20_000);
  }, 60_000);
});
