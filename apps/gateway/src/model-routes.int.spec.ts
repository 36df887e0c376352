import { fromBinary } from '@bufbuild/protobuf';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startEngineSim } from '#apps/engine-sim';
import { EventRegistry, route } from '#libs/contracts';
import { reexecute } from '#libs/domain/route';
import type { Broker } from '#libs/event-log';
import { natsBroker } from '#libs/event-log-nats';
import { desiredOf, parseConfig } from '#libs/nest-kit';
import { createLogger } from '#libs/observability';
import { eventually, launchNats } from '#libs/testkit';
import { chat } from './gateway.fixture.ts';
import type { RunningGateway } from './gateway.ts';
import { startGateway } from './gateway.ts';
import { tinyEngine } from './tiny-engine.fixture.ts';

const closers: (() => Promise<unknown>)[] = [];
let broker: Broker;
let admin: Broker;
let gateway: RunningGateway;
let home: string;

beforeAll(async () => {
  const nats = await launchNats();
  closers.push(() => nats.stop());
  home = await mkdtemp(join(tmpdir(), 'lintel-model-routes-'));
  closers.push(() => rm(home, { recursive: true, force: true }));
  const registry = new EventRegistry();
  const connect = (user: string): Promise<Broker> =>
    natsBroker({ url: nats.url, user, password: `${user}-password`, name: `${user}:t`, registry });
  [broker, admin] = await Promise.all([connect('gateway'), connect('diagnostics')]);
  closers.push(
    () => broker.close(),
    () => admin.close(),
  );
  const logger = createLogger({ name: 'gateway', level: 'silent' });
  gateway = await startGateway({ host: '127.0.0.1', port: 0, instance: 'g1', home, broker, open: true, logger });
  closers.push(() => gateway.stop());
});
afterAll(async () => {
  for (const close of closers.toReversed()) await close();
});

test('L54 aliases, ranks, a provider as fallback, from the file to records that are decided again', async () => {
  const sim = await startEngineSim({ models: ['main'], speed: 100, dataParallel: 2 });
  const external = await tinyEngine('gpt-x');
  closers.push(
    () => sim.stop(),
    () => external.kill(),
  );
  const keyFile = join(home, 'key');
  await writeFile(keyFile, 'sk-external\n');
  external.answers.set('/api/v1/chat/completions', (request, response, body) => {
    external.authorization = request.headers.authorization;
    const { model } = JSON.parse(body) as { model: string };
    response
      .writeHead(200, { 'content-type': 'application/json' })
      .end(JSON.stringify({ model, usage: { prompt_tokens: 1 } }));
  });
  const yaml = `
replicas:
  - { id: own, url: "${sim.url}", engine: vllm, models: [main], dataParallel: 2 }
providers:
  - { id: ext, url: "${external.url}/api/v1/", credential: "file:${keyFile}", models: { main: gpt-x }, use: fallback, allow: [private, http] }
modelRoutes:
  - { models: [assistant], to: main }
`;
  await gateway.apply(desiredOf(parseConfig(yaml, 'lintel.yaml'), 'config:lintel.yaml'), {
    source: 'config:lintel.yaml',
    contentHash: 'a'.repeat(64),
  });
  const states = (): string[] =>
    (gateway.fleet.replicasFor('main') ?? []).map((one) => `${one.id} ${one.routability()}`);
  await eventually(() => expect(states()).toEqual(['own-dp0 ready', 'own-dp1 ready']), 8_000);
  const own = await chat(gateway.url, { model: 'assistant', max_tokens: 2 });
  expect([own.status, own.headers.get('target-pod')]).toEqual([200, expect.stringMatching(/^own-dp[01]$/)]);
  expect(await own.json()).toMatchObject({ model: 'main' });
  // The rank that was chosen is the one that generated.
  const rank = own.headers.get('target-pod')?.at(-1);
  const page = await (await fetch(`${sim.url}/metrics`)).text();
  const generated = [...page.matchAll(/^vllm:generation_tokens_total\{engine="(\d)"[^}]*\} (\d)/gm)];
  expect(generated.map(([, which, tokens]) => [which, tokens])).toEqual(
    ['0', '1'].map((which) => [which, which === rank ? '2' : '0']),
  );
  const listed = (await (await fetch(`${gateway.url}/v1/models`)).json()) as { data: { id: string }[] };
  expect(listed.data.map(({ id }) => id)).toEqual(['main', 'assistant']);
  await sim.stop();
  const away = await chat(gateway.url, { model: 'assistant' });
  expect([away.status, away.headers.get('target-pod')]).toEqual([200, 'ext']);
  expect(await away.json()).toMatchObject({ model: 'gpt-x' });
  expect(external.authorization).toBe('Bearer sk-external');
  // Not asked how it is.
  expect([...external.asked.keys()]).toEqual(['/api/v1/chat/completions']);
  await eventually(async () => {
    const records: route.DecisionRecord[] = [];
    for await (const { bytes } of admin.frames.read({ fromSeq: 1 })) {
      const frame = fromBinary(route.RecordFrameSchema, bytes);
      for (const [index, record] of frame.records.entries()) {
        expect(reexecute(frame, index)).toMatchObject({ equal: true });
        if (record.model !== '') records.push(record);
      }
    }
    expect(records.map(({ model, modelChoice }) => [modelChoice?.asked, model])).toEqual([
      ['assistant', 'main'],
      ['assistant', 'main'],
    ]);
    expect(records[1]?.modelChoice?.looks.at(-1)).toMatchObject({ taken: true });
  });
});
