import { once } from 'node:events';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { request } from 'node:http';
import type { Socket } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import { eventually } from '#libs/testkit';
import type { FlowGateway } from '../flow/flow.fixture.ts';
import { flowGateway } from '../flow/flow.fixture.ts';
import { closeAll } from '../serve/serve.fixture.ts';
import { websocketEngine } from './websocket-engine.fixture.ts';

const { Outcome } = route;

afterEach(closeAll);

interface Asked {
  readonly sent: ClientRequest;
  /** The socket of a session, or the status of a refusal. */
  readonly came: Promise<
    Socket | { readonly status: number | undefined; readonly headers: IncomingMessage['headers'] }
  >;
}

function ask({ port }: FlowGateway, tenant = 'acme', headers: Record<string, string> = {}): Asked {
  const sent = request({
    port,
    path: '/v1/realtime?model=tiny',
    agent: false,
    headers: {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
      authorization: `Bearer ${tenant}`,
      ...headers,
    },
  });
  const came = Promise.withResolvers<Awaited<Asked['came']>>();
  sent.on('upgrade', (_response, socket: Socket) => {
    socket.on('error', () => {}).resume();
    came.resolve(socket);
  });
  sent.on('response', (response) => {
    response.resume();
    came.resolve({ status: response.statusCode, headers: response.headers });
  });
  sent.on('error', (error) => came.reject(error));
  came.promise.catch(() => {});
  sent.end();
  return { sent, came: came.promise };
}

const session = async ({ came }: Asked): Promise<Socket> => {
  const socket = await came;
  if (!('destroy' in socket)) throw new Error(`refused with ${socket.status}`);
  return socket;
};

const start = async (flow: Record<string, number>): Promise<{ lintel: FlowGateway; sessions: readonly unknown[] }> => {
  const { origin, sessions } = await websocketEngine((one, message) => one.send(message));
  return { lintel: await flowGateway([origin], flow), sessions };
};

test('a session waits for room as a request does, and the band above goes first', async () => {
  const { lintel, sessions } = await start({ slots: 1, priorityMax: 2 });
  const first = await session(ask(lintel));
  const low = ask(lintel, 'noisy');
  await lintel.waiting(1);
  const high = ask(lintel, 'quiet', { 'x-lintel-priority': '1' });
  await lintel.waiting(2);
  expect(sessions).toHaveLength(1);
  first.destroy();
  const second = await session(high);
  await lintel.waiting(1);
  second.destroy();
  (await session(low)).destroy();
  await eventually(() => expect(lintel.records).toHaveLength(3));
  const queued = lintel.records.map(({ tenantId, timings }) => [tenantId, timings!.queuedMs > 0]);
  expect(queued).toEqual([
    ['acme', false],
    ['quiet', true],
    ['noisy', true],
  ]);
  expect(lintel.fleet.replicas[0]!.inflight).toBe(0);
  expect(await lintel.registry.metrics()).toContain('lintel_gateway_flow_outcomes_total{outcome="dispatched"} 3');
});

test('requests and sessions wait in one queue: a request goes on when a session ends', async () => {
  const { lintel } = await start({ slots: 1 });
  const first = await session(ask(lintel));
  const waits = lintel.ask('chat', 'noisy');
  await lintel.waiting(1);
  first.destroy();
  // The fixture's engine speaks WebSocket alone: that it was asked is enough.
  expect((await waits).status).toBeGreaterThanOrEqual(200);
  await eventually(() => expect(lintel.records).toHaveLength(2));
  expect(lintel.records[1]).toMatchObject({ endpoint: '/v1/chat/completions', attempts: [{ replicaId: 'r1' }] });
});

test('who waits in vain, leaves, or meets a drain is told so or recorded, and its place is free', async () => {
  const { lintel, sessions } = await start({ slots: 1, waitMsMax: 60 });
  const first = await session(ask(lintel));
  expect(await ask(lintel).came).toMatchObject({
    status: 503,
    headers: { 'x-lintel-outcome': 'evicted_deadline', 'retry-after': '2' },
  });
  first.destroy();
  await eventually(() => expect(lintel.records).toHaveLength(2));

  const patient = await start({ slots: 1 });
  const running = await session(ask(patient.lintel));
  const leaves = ask(patient.lintel, 'quiet');
  await patient.lintel.waiting(1);
  leaves.sent.destroy();
  await patient.lintel.waiting(0);
  await eventually(() => expect(patient.lintel.records).toHaveLength(1));
  expect(patient.lintel.records[0]).toMatchObject({ outcome: Outcome.CLIENT_GONE, tenantId: 'quiet', attempts: [] });
  expect(patient.lintel.records[0]!.timings!.queuedMs).toBeGreaterThan(0);

  const stopped = ask(patient.lintel, 'noisy');
  await patient.lintel.waiting(1);
  const ends = once(running, 'close');
  await patient.lintel.plane.drain(0);
  expect(await stopped.came).toMatchObject({ status: 503, headers: { 'x-lintel-outcome': 'rejected_capacity' } });
  await ends;
  expect(sessions.length + patient.sessions.length).toBe(2);
  const text = await patient.lintel.registry.metrics();
  for (const outcome of ['client_gone', 'stopped']) {
    expect(text).toContain(`lintel_gateway_flow_outcomes_total{outcome="${outcome}"} 1`);
  }
});
