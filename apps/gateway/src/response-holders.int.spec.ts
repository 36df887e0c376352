import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { EventRegistry } from '#libs/contracts';
import { natsBroker } from '#libs/event-log-nats';
import { createLogger } from '#libs/observability';
import type { LaunchedNats } from '#libs/testkit';
import { eventually, launchNats } from '#libs/testkit';
import { desired } from './gateway.fixture.ts';
import type { RunningGateway } from './gateway.ts';
import { startGateway } from './gateway.ts';
import type { TinyEngine } from './tiny-engine.fixture.ts';
import { tinyEngine } from './tiny-engine.fixture.ts';

const closers: (() => Promise<unknown>)[] = [];
const registry = new EventRegistry();
const engines: Record<string, TinyEngine> = {};
let nats: LaunchedNats;
let home: string;

/** A gateway with a connection and a home of its own, as on a machine of its own. */
async function start(instance: string): Promise<RunningGateway> {
  const { url } = nats;
  const broker = await natsBroker({ url, user: 'gateway', password: 'gateway-password', name: instance, registry });
  closers.push(() => broker.close());
  const logger = createLogger({ name: 'gateway', level: 'silent' });
  const gateway = await startGateway({
    host: '127.0.0.1',
    port: 0,
    instance,
    home: join(home, instance),
    broker,
    open: true,
    logger,
  });
  closers.push(() => gateway.stop());
  return gateway;
}

const states = (gateway: RunningGateway): string[] =>
  (gateway.fleet.replicasFor('tiny') ?? []).map((one) => `${one.id} ${one.routability()}`).sort();
const ready = async (gateway: RunningGateway): Promise<void> =>
  await eventually(() => expect(states(gateway)).toEqual(['a ready', 'b ready', 'c ready']), 10_000);

beforeAll(async () => {
  nats = await launchNats();
  closers.push(() => nats.stop());
  home = await mkdtemp(join(tmpdir(), 'lintel-holders-'));
  closers.push(() => rm(home, { recursive: true, force: true }));
  let made = 0;
  for (const name of ['a', 'b', 'c']) {
    const engine = (engines[name] = await tinyEngine());
    closers.push(() => engine.kill());
    engine.answers.set('/v1/responses', (_request, response) => {
      const body = JSON.stringify({
        id: `resp_${name}_${++made}`,
        object: 'response',
        usage: { input_tokens: 1, output_tokens: 1 },
      });
      response.writeHead(200, { 'content-type': 'application/json' }).end(body);
    });
  }
}, 60_000);
afterAll(async () => {
  for (const close of closers.toReversed()) await close();
}, 60_000);

async function respond(
  { url }: RunningGateway,
  more: object = {},
): Promise<{ readonly id: string; readonly pod: string }> {
  const response = await fetch(`${url}/v1/responses`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'routing-strategy': 'round-robin' },
    body: JSON.stringify({ model: 'tiny', input: 'hi', ...more }),
  });
  expect(response.status).toBe(200);
  return { id: ((await response.json()) as { id: string }).id, pod: response.headers.get('target-pod') ?? '' };
}

test('a response is gone on from at its holder, through whichever gateway, also one that started later', async () => {
  const [one, other] = [await start('g1'), await start('g2')];
  await one.apply(
    desired(Object.entries(engines).map(([replicaId, { url }]) => ({ replicaId, url, models: ['tiny'] }))),
    {
      source: 'config:test',
      contentHash: 'a'.repeat(64),
    },
  );
  await Promise.all([ready(one), ready(other)]);

  const begun = [await respond(one), await respond(one), await respond(one)];
  expect(new Set(begun.map(({ pod }) => pod)).size).toBe(3);
  // Told within 50 ms and a way over the broker: until then any replica would be asked.
  const heldAt = async (gateway: RunningGateway): Promise<void> =>
    await eventually(async () => {
      for (const { id, pod } of begun) expect((await respond(gateway, { previous_response_id: id })).pod).toBe(pod);
    });
  await heldAt(other);
  for (const { id, pod } of begun) {
    // Turn after turn, now by this gateway, now by that one.
    let last = id;
    for (const gateway of [other, one, other, one]) {
      await eventually(async () => {
        const next = await respond(gateway, { previous_response_id: last });
        expect(next.pod).toBe(pod);
        last = next.id;
      });
    }
    // By its id, too.
    engines[pod]?.answers.set(`/v1/responses/${id}`, (_request, response) => void response.end('{"found":true}'));
    const found = await fetch(`${other.url}/v1/responses/${id}`);
    expect([found.status, found.headers.get('target-pod'), await found.text()]).toEqual([200, pod, '{"found":true}']);
  }

  const late = await start('g3');
  await ready(late);
  await heldAt(late);

  // Nobody else could go on: its holder gone, the client is told so by every gateway.
  const [first] = begun as [(typeof begun)[0]];
  await engines[first.pod]?.kill();
  for (const gateway of [one, other, late]) {
    await eventually(async () => {
      const response = await fetch(`${gateway.url}/v1/responses`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'tiny', input: 'hi', previous_response_id: first.id }),
      });
      expect([502, 503]).toContain(response.status);
    }, 10_000);
  }
}, 60_000);
