import { expect, test } from '@jest/globals';
import { create } from '@bufbuild/protobuf';
import { EventRegistry, tenancy } from '#libs/contracts';
import type { BudgetEvent, BudgetState } from '#libs/domain/tenancy';
import { budget, windowsMs } from '#libs/domain/tenancy';
import { Acceptor, CommandHandler, decodeCommit } from '#libs/event-log';
import { SeededRng } from '#libs/kernel';
import type { Faults } from '#libs/testkit';
import { everyFault, Network, SimBroker, SimProcess, SimulatedEventLog, swarm, VirtualTime } from '#libs/testkit';
import { BrokerClock } from './broker-clock.ts';
import type { BudgetCount } from './budgets.ts';
import { Budgets } from './budgets.ts';

const registry = new EventRegistry();
const scope = { tenantId: 't', projectId: '', keyId: 'k', endUser: '', model: 'm' };
const limit = create(tenancy.LimitSchema, {
  limitId: 'b',
  metric: tenancy.LimitMetric.COST,
  windowMs: windowsMs.month,
  amount: 1_000_000,
  soft: true,
  alertPercents: [10, 50, 80, 100],
});

interface Ran {
  /** By those that lived and those that died. */
  readonly spent: number;
  readonly lostAtMost: number;
  readonly reached: readonly number[];
  readonly total: number;
  readonly crashes: number;
}

/** Gateways that spend of one budget over one broker, each with the real book, decider and command handler. */
async function run(seed: number, decider: typeof budget = budget): Promise<Ran> {
  const rng = new SeededRng(seed);
  const faults: Faults = { ...swarm(everyFault, new SeededRng(seed ^ 0x5eed)), clockSkewMs: 0 };
  const time = new VirtualTime();
  const network = new Network(time, rng, faults);
  const broker = new SimBroker(time, rng, { cluster: faults.fork > 0, expectationFirst: rng.chance(0.5) });
  const books = new Map<SimProcess, { readonly book: Budgets; readonly count: BudgetCount; spent: number }>();
  const lost: number[] = [];
  let spent = 0;
  let crashes = 0;
  const boot = (process: SimProcess): void => {
    const { environment } = process;
    const log = new SimulatedEventLog(process, broker, network);
    const handler = new CommandHandler({ log, registry, environment, actor: process.life.name });
    const book = new Budgets({
      clock: new BrokerClock(environment.clock),
      environment,
      holder: process.life.name.replace('#', ':'),
      currency: () => 'USD',
      say: () => {},
      give: (id, command, commandId) => handler.handle(decider, id, command, { commandId }),
    });
    book.start();
    books.set(process, { book, count: book.countOf(limit, scope, 1) as BudgetCount, spent: 0 });
  };
  const gateways = [1, 2, 3].map((n) => new SimProcess(`g${n}`, time, rng, boot));
  for (const process of gateways) process.start();
  const spend = (): void => {
    const process = gateways[rng.below(gateways.length)] as SimProcess;
    const own = books.get(process);
    if (process.life.alive && own !== undefined) {
      const cost = 1 + rng.below(9_000);
      own.book.add(own.count, cost);
      own.spent += cost;
      spent += cost;
    }
    if (time.nowMs < 30_000) time.at(80 * rng.next(), 'spend', undefined, spend);
  };
  const crash = (): void => {
    const process = gateways[rng.below(gateways.length)] as SimProcess;
    if (process.life.alive && rng.chance(0.4)) {
      crashes++;
      lost.push(books.get(process)?.spent ?? 0);
      process.kill();
      time.at(200 + rng.next() * 2_000, 'restart', undefined, () => process.start());
    }
    if (time.nowMs < 30_000) time.at(3_000, 'chaos', undefined, crash);
  };
  spend();
  crash();
  // What is left is reported when it is old.
  await time.run({ untilMs: 120_000 });
  for (const process of gateways) process.kill();
  const acceptor = new Acceptor();
  let state: BudgetState = budget.initial;
  const reached: number[] = [];
  for (const stored of broker.commits) {
    if (acceptor.accept(stored) !== 'accepted') continue;
    for (const event of decodeCommit(stored, registry).events as unknown as BudgetEvent[]) {
      state = budget.evolve(state, event);
      if (event.type !== 'BudgetReached') continue;
      reached.push(event.data.percent ?? 0);
      expect((event.data.total ?? 0) * 100).toBeGreaterThanOrEqual(limit.amount * (event.data.percent ?? 0));
    }
  }
  const total = [...state.windows.values()].reduce((sum, window) => sum + window.total, 0);
  return { spent, lostAtMost: lost.reduce((sum, one) => sum + one, 0), reached, total, crashes };
}

const seeds = 150;

test(`L58 alerts are told once each, whoever dies and whatever is lost, and of no more than was spent (${seeds} seeds)`, async () => {
  let alerts = 0;
  let crashes = 0;
  for (let seed = 1; seed <= seeds; seed++) {
    const ran = await run(seed);
    const due = limit.alertPercents.filter((percent) => ran.total * 100 >= limit.amount * percent);
    expect([seed, ran.reached]).toEqual([seed, due]);
    expect([seed, ran.total <= ran.spent]).toEqual([seed, true]);
    // Only what a gateway had not said when it died is missing.
    expect([seed, ran.total >= ran.spent - ran.lostAtMost]).toEqual([seed, true]);
    alerts += ran.reached.length;
    crashes += ran.crashes;
  }
  expect(alerts).toBeGreaterThan(2 * seeds);
  expect(crashes).toBeGreaterThan(seeds);
}, 120_000);

test('the law finds a decider that forgets what it has told', async () => {
  const forgetful: typeof budget = {
    ...budget,
    decide: (state, command) => {
      const windows = new Map([...state.windows].map(([start, window]) => [start, { ...window, reached: [] }]));
      return budget.decide({ ...state, windows }, command);
    },
  };
  const { reached } = await run(1, forgetful);
  expect(reached.length).toBeGreaterThan(new Set(reached).size);
});
