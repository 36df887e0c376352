import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { EventRegistry, tenancy } from '#libs/contracts';
import { emptyTenancyState, hashApiKey, leasedOf, quota, windowsMs } from '#libs/domain/tenancy';
import type { QuotaEvent, QuotaState } from '#libs/domain/tenancy';
import type { Broker } from '#libs/event-log';
import { Acceptor, decodeCommit } from '#libs/event-log';
import { natsBroker } from '#libs/event-log-nats';
import { SeededRng, systemEnvironment } from '#libs/kernel';
import { desiredOf, parseConfig, TypedClient } from '#libs/nest-kit';
import { createLogger } from '#libs/observability';
import type { LaunchedNats } from '#libs/testkit';
import { eventually, launchNats, wideWindow } from '#libs/testkit';
import { chat } from '../gateway.fixture.ts';
import type { RunningGateway } from '../gateway.ts';
import { startGateway } from '../gateway.ts';
import type { TinyEngine } from '../tiny-engine.fixture.ts';
import { tinyEngine } from '../tiny-engine.fixture.ts';
import type { Reservation, Scope, Shortage } from './ledger.ts';
import { unitsOf } from './ledger.ts';
import { limitOf } from './quota.fixture.ts';
import { isReservation, Quotas } from './quotas.ts';
import { quotasOf } from './start.ts';

const { LimitMetric } = tenancy;
const registry = new EventRegistry();
const environment = systemEnvironment;
const logger = createLogger({ name: 'gateway', level: 'silent' });

let nats: LaunchedNats;
let home: string;
let engine: TinyEngine;
/** Closed in reverse at the end, also what a failed test left open. */
const opened: (() => Promise<void>)[] = [];

const connect = async (user: string): Promise<Broker> => {
  const { url } = nats;
  const made = await natsBroker({ url, user, password: `${user}-password`, name: `${user}:t`, registry });
  opened.push(() => made.close());
  return made;
};

beforeAll(async () => {
  nats = await launchNats();
  home = await mkdtemp(join(tmpdir(), 'lintel-quota-'));
  engine = await tinyEngine();
});

afterAll(async () => {
  for (const close of opened.toReversed()) await close();
  await engine.kill();
  await nats.stop();
  await rm(home, { recursive: true, force: true });
});

interface Part {
  readonly quotas: Quotas;
  readonly broker: Broker;
  running: boolean;
  loop: Promise<void>;
}

// The day, but where it is nearly over.
const wide = wideWindow(environment.clock.nowMs());
const wideMs = windowsMs[wide];
const limits = [
  limitOf('per day', LimitMetric.REQUESTS, wideMs, 4_000),
  limitOf('tokens per day', LimitMetric.TOKENS, wideMs, 60_000),
  limitOf('per second', LimitMetric.REQUESTS, windowsMs.second, 500),
];
const spent = new Map<string, number>();
let admitted = 0;

async function part(instance: string, bootId: string): Promise<Part> {
  const broker = await connect('gateway');
  const tenants = emptyTenancyState();
  tenants.limits.set('t', { seq: 1, limits });
  const folds = { state: () => ({ tenancy: tenants }) } as unknown as Parameters<typeof quotasOf>[0]['folds'];
  const quotas = quotasOf({ broker, registry, environment, instance, bootId, folds, say: () => {} });
  quotas.start();
  const made: Part = { quotas, broker, running: true, loop: Promise.resolve() };
  made.loop = load(made, new SeededRng(instance.length + bootId.length));
  opened.push(() => quotas.stop());
  return made;
}

/** Asks as fast as it is let, in bursts; each request ends a little later with less than it reserved. */
async function load(made: Part, rng: SeededRng): Promise<void> {
  const { quotas } = made;
  const scope = quotas.ledger.scopeOf('t', 'k', '', 'm') as Scope;
  while (made.running) {
    for (let n = 0; n < 8 && made.running; n++) {
      const tokens = { input: 1 + rng.below(10), output: 1 + rng.below(20) };
      const { promise, resolve } = Promise.withResolvers<Reservation | Shortage>();
      const result = quotas.reserve(scope, tokens);
      if (isReservation(result) || !quotas.canWait(result)) resolve(result);
      else quotas.wait(scope, tokens, result, resolve);
      const reservation = await promise;
      if (!isReservation(reservation) || !made.running) continue;
      admitted++;
      const used = { input: tokens.input, output: rng.below(tokens.output + 1) };
      count(reservation, tokens, 1);
      environment.timers.after(rng.below(30), () => {
        if (!made.running) return;
        quotas.ledger.settle(reservation, used);
        count(reservation, tokens, -1);
        count(reservation, used, 1);
      });
    }
    await environment.timers.sleep(4);
  }
}

function count({ scope, windows }: Reservation, tokens: { input: number; output: number }, sign: 1 | -1): void {
  scope.accounts.forEach(({ quota: { limit } }, index) => {
    const name = `${limit.limitId}@${windows[index]}`;
    const sum = (spent.get(name) ?? 0) + sign * unitsOf(limit.metric, tokens);
    spent.set(name, sum);
    if (sum > limit.amount) over.push(`${sum} of ${limit.amount} in ${name}`);
  });
}
const over: string[] = [];

/** kill -9, as far as one process can: nothing more is said to the broker, nothing given back, nothing settled. */
async function kill(made: Part): Promise<void> {
  made.running = false;
  await made.broker.close();
}

test('L40 three gateways on one broker, killed and begun again, and the broker too: never over a limit', async () => {
  const parts = await Promise.all(['g1', 'g2', 'g3'].map((instance) => part(instance, 'a')));
  const untilAdmitted = async (more: number): Promise<void> => {
    const from = admitted;
    await eventually(() => expect(admitted).toBeGreaterThan(from + more), 10_000);
  };
  await untilAdmitted(300);
  await kill(parts[1]!);
  await untilAdmitted(200);
  parts.push(await part('g2', 'b'));
  await untilAdmitted(200);
  nats.kill();
  await nats.restart();
  await untilAdmitted(300);
  await kill(parts[0]!);
  // To the end of what the day has: neither of the two finds anything left.
  await eventually(() => {
    expect([parts[2]!, parts[3]!].map(({ quotas }) => dayIsOver(quotas))).toEqual([true, true]);
  }, 20_000);
  for (const made of parts) made.running = false;
  await Promise.all(parts.map(({ loop }) => loop));
  expect(over).toEqual([]);
  await leasesHold();
}, 60_000);

/** A window of a day is known to be used up. */
const dayIsOver = (quotas: Quotas): boolean =>
  [...quotas.ledger.accounts.values()].some(
    (account) => account.quota.windowMs === wideMs && account.isExhausted(31, quotas.clock.nowMs()),
  );

/** The log's own account of it. */
async function leasesHold(): Promise<void> {
  const reader = await connect('diagnostics');
  const acceptor = new Acceptor();
  const states = new Map<string, QuotaState>();
  let leases = 0;
  for await (const stored of reader.log.read({ fromSeq: 1 })) {
    if (!stored.subject.startsWith('lintel.ev.tenancy.quota.') || acceptor.accept(stored) !== 'accepted') continue;
    let state = states.get(stored.subject) ?? quota.initial;
    for (const event of decodeCommit(stored, registry).events) {
      state = quota.evolve(state, event as unknown as QuotaEvent);
      leases++;
    }
    states.set(stored.subject, state);
    for (const start of state.windows.keys()) expect(leasedOf(state, start)).toBeLessThanOrEqual(state.amount);
  }
  expect(leases).toBeGreaterThan(20);
}

test('two gateways share a limit to the last request; a revoked key is refused by both within a second', async () => {
  const start = async (instance: string): Promise<RunningGateway> => {
    const broker = await connect('gateway');
    const options = { host: '127.0.0.1', port: 0, instance, home: join(home, instance), broker, open: false, logger };
    const started = await startGateway(options);
    opened.push(() => started.stop());
    return started;
  };
  const gateways = [await start('a'), await start('b')];
  const document = (amount: number): string => `
replicas: [{ id: r, url: "${engine.url}" }]
tenants:
  - id: acme
    limits: [{ requests: { ${wide}: ${amount} } }]
    keys: [{ id: k, sha256: "${hashApiKey('secret')}" }]
`;
  const apply = async (amount: number): Promise<readonly string[]> => {
    const text = document(amount);
    const desired = desiredOf(parseConfig(text, 'lintel.yaml'), 'config:lintel.yaml');
    const contentHash = String(amount % 10).repeat(64);
    return await gateways[0]!.apply(desired, { source: 'config:lintel.yaml', contentHash });
  };
  expect(await apply(6)).toContain('+ limits of tenant acme');
  const ask = async (index: number): Promise<Response> =>
    await chat(gateways[index % 2]!.url, {}, { authorization: 'Bearer secret' });
  for (const index of [0, 1]) {
    await eventually(async () => expect((await fetch(`${gateways[index]!.url}/ready`)).status).toBe(200), 8_000);
  }
  const statuses: number[] = [];
  for (let index = 0; index < 12; index++) statuses.push((await ask(index)).status);
  expect(statuses.filter((status) => status === 200)).toHaveLength(6);
  expect(statuses.filter((status) => status === 429)).toHaveLength(6);
  const refused = await ask(1);
  expect(refused.headers.get('x-ratelimit-limit-requests')).toBe('6');
  expect(((await refused.json()) as { error: { message: string } }).error.message).toContain(`"requests/${wide}"`);

  const metrics = await (await fetch(`${gateways[1]!.url}/metrics`)).text();
  expect(metrics).toMatch(/lintel_gateway_quota_refusals_total\{why="exhausted",[^}]*\} [1-9]/);
  expect(metrics).toMatch(/lintel_gateway_quota_clock_good\{[^}]*\} 1/);

  // More is let through as soon as the document says so.
  expect(await apply(8)).toEqual(['~ limits of tenant acme']);
  await eventually(async () => expect((await ask(0)).status).toBe(200));

  const admin = await connect('diagnostics');
  const client = new TypedClient(admin.requester);
  // Set by hand: none at all.
  while ((await ask(0)).status === 200);
  expect(await client.send('tenancy.SetLimits', { tenantId: 'acme', limits: [] })).toMatchObject({ changed: true });
  for (const index of [0, 1]) await eventually(async () => expect((await ask(index)).status).toBe(200));
  await client.send('tenancy.RevokeKey', { tenantId: 'acme', keyId: 'k', reason: 'leaked' });
  for (const index of [0, 1]) await eventually(async () => expect((await ask(index)).status).toBe(401), 1_000);
}, 60_000);
