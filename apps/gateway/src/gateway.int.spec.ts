import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { EventRegistry } from '#libs/contracts';
import type { Broker } from '#libs/event-log';
import { natsBroker } from '#libs/event-log-nats';
import type { DesiredConfiguration } from '#libs/nest-kit';
import { createLogger } from '#libs/observability';
import type { LaunchedNats } from '#libs/testkit';
import { eventually, launchNats } from '#libs/testkit';
import type { GatewayOptions, RunningGateway } from './gateway.ts';
import { startGateway } from './gateway.ts';
import type { TinyEngine } from './tiny-engine.fixture.ts';
import { tinyEngine } from './tiny-engine.fixture.ts';

const logger = createLogger({ name: 'gateway', level: 'silent' });

const chat = async (url: string, body: object = {}): Promise<Response> =>
  await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'tiny', messages: [{ role: 'user', content: 'hi' }], ...body }),
  });

describe('a gateway on a real broker', () => {
  let nats: LaunchedNats;
  let home: string;
  let broker: Broker;
  let gateway: RunningGateway;
  let a: TinyEngine;
  let b: TinyEngine;

  const connect = async (user: string): Promise<Broker> =>
    await natsBroker({
      url: nats.url,
      user,
      password: `${user}-password`,
      name: `${user}:t`,
      registry: new EventRegistry(),
    });

  const options = (): GatewayOptions => ({
    host: '127.0.0.1',
    port: 0,
    instance: 'g1',
    home,
    broker,
    open: true,
    logger,
  });

  const desired = (replicas: DesiredConfiguration['replicas']): DesiredConfiguration => ({
    replicas,
    policies: [],
    tenants: [],
  });

  beforeAll(async () => {
    nats = await launchNats();
    home = await mkdtemp(join(tmpdir(), 'lintel-gateway-'));
    broker = await connect('gateway');
    [a, b] = await Promise.all([tinyEngine(), tinyEngine()]);
    gateway = await startGateway(options());
  });

  afterAll(async () => {
    await gateway.stop();
    await broker.close();
    await Promise.all([a.kill(), b.kill()]);
    await nats.stop();
    await rm(home, { recursive: true, force: true });
  });

  test('a configuration becomes commits, and requests flow to what it names', async () => {
    const lines = await gateway.apply(
      desired([
        { replicaId: 'a', url: a.url, source: 'flag' },
        { replicaId: 'b', url: b.url, source: 'flag' },
      ]),
      {
        source: 'flag',
        contentHash: 'a'.repeat(64),
      },
    );
    expect(lines).toEqual([`+ replica a ${a.url}`, `+ replica b ${b.url}`]);
    await eventually(async () => expect((await fetch(`${gateway.url}/ready`)).status).toBe(200));
    const answer = await chat(gateway.url);
    expect(await answer.json()).toMatchObject({ choices: [{ message: { content: 'hello' } }] });
    const stream = await chat(gateway.url, { stream: true });
    expect(await stream.text()).toMatch(/"he".*"llo".*\[DONE\]/s);
  });
});
