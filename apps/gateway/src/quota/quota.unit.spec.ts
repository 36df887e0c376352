import { describe, expect, test } from '@jest/globals';
import { EventRegistry, tenancy } from '#libs/contracts';
import { quota } from '#libs/domain/tenancy';
import type { Handled } from '#libs/event-log';
import { CommandHandler, MemoryEventLog } from '#libs/event-log';
import { CodedError } from '#libs/kernel';
import type { ManualTime } from '../fleet/manual-time.fixture.ts';
import { manualTime } from '../fleet/manual-time.fixture.ts';
import { BrokerClock } from './broker-clock.ts';
import type { GiveQuotaCommand } from './leaser.ts';
import type { Reservation, Scope, Shortage, Tokens } from './ledger.ts';
import { quotaBounds } from './limits.ts';
import { limitOf } from './quota.fixture.ts';
import { isReservation, Quotas } from './quotas.ts';

const { LimitMetric } = tenancy;
const minuteMs = 60_000;
const one: Tokens = { input: 1, output: 1 };

interface Bench {
  readonly time: ManualTime;
  readonly quotas: Quotas;
  readonly scope: Scope;
  readonly log: MemoryEventLog;
  /** Set: what a command is answered with instead. */
  away: { readonly error: Error } | undefined;
  /** What a request comes to once it has waited. */
  ask(tokens?: Tokens): Promise<Reservation | Shortage>;
  why(tokens?: Tokens): Promise<string>;
}

function bench(
  limits: tenancy.Limit[],
  time = manualTime(),
  log = new MemoryEventLog({ clock: time.clock }),
  holder = 'g:1',
): Bench {
  const handler = new CommandHandler({ log, registry: new EventRegistry(), environment: time, actor: holder });
  const give: GiveQuotaCommand = async (id, command, commandId): Promise<Handled> => {
    if (made.away !== undefined) throw made.away.error;
    return await handler.handle(quota, id, command, { commandId });
  };
  const quotas = new Quotas({
    environment: time,
    holder,
    give,
    limitsOf: () => ({ seq: 1, limits }),
    say: () => {},
  });
  quotas.start();
  const scope = quotas.ledger.scopeOf('t', 'k', 'u', 'm') as Scope;
  const ask = async (tokens = one): Promise<Reservation | Shortage> => {
    const result = quotas.reserve(scope, tokens);
    if (isReservation(result) || !quotas.canWait(result)) return result;
    const { promise, resolve } = Promise.withResolvers<Reservation | Shortage>();
    quotas.wait(scope, tokens, result, resolve);
    await time.pass(quotaBounds.leaseWaitMsMax + 1);
    return await promise;
  };
  const made: Bench = {
    time,
    quotas,
    scope,
    log,
    away: undefined,
    ask,
    why: async (tokens) => {
      const result = await ask(tokens);
      return isReservation(result) ? 'admitted' : result.why;
    },
  };
  return made;
}

const rpm = (amount: number): tenancy.Limit => limitOf('rpm', LimitMetric.REQUESTS, minuteMs, amount);
const tpm = (amount: number): tenancy.Limit => limitOf('tpm', LimitMetric.TOKENS, minuteMs, amount);

describe('reserve and settle', () => {
  test('a limit is spent to its last unit, and is whole again with its next window', async () => {
    const { why, time } = bench([rpm(3)]);
    expect([await why(), await why(), await why(), await why()]).toEqual([
      'admitted',
      'admitted',
      'admitted',
      'exhausted',
    ]);
    await time.pass(minuteMs);
    expect(await why()).toBe('admitted');
  });

  test('what was reserved and not used comes back; what was never served costs nothing', async () => {
    const { ask, why, quotas } = bench([tpm(100)]);
    const first = (await ask({ input: 10, output: 90 })) as Reservation;
    expect(await why()).toBe('exhausted');
    quotas.ledger.settle(first, { input: 10, output: 20 });
    quotas.ledger.settle(first, { input: 0, output: 0 });
    const second = (await ask({ input: 10, output: 60 })) as Reservation;
    expect(isReservation(second)).toBe(true);
    expect(await why()).toBe('exhausted');
    quotas.ledger.cancel(second);
    expect(await why({ input: 35, output: 35 })).toBe('admitted');
  });

  test('what was used beyond the reserve is paid out of what is leased next', async () => {
    const { ask, why, quotas } = bench([tpm(100)]);
    quotas.ledger.settle((await ask({ input: 5, output: 5 })) as Reservation, { input: 5, output: 55 });
    expect(await why({ input: 1, output: 40 })).toBe('exhausted');
    expect(await why({ input: 1, output: 39 })).toBe('admitted');
  });

  test('a request that is short of one limit takes nothing of another', async () => {
    const { why, scope, quotas } = bench([rpm(10), tpm(20)]);
    expect(await why({ input: 10, output: 10 })).toBe('admitted');
    expect(await why({ input: 1, output: 0 })).toBe('exhausted');
    expect(scope.accounts[0]!.remaining(quotas.clock.nowMs())).toBe(9);
    expect(await why({ input: 15, output: 6 })).toBe('too-large');
  });

  test('slots come free with the end of a request', async () => {
    const { ask, why, quotas } = bench([limitOf('concurrent', LimitMetric.CONCURRENT, 0, 2)]);
    const first = (await ask()) as Reservation;
    expect([await why(), await why()]).toEqual(['admitted', 'exhausted']);
    quotas.ledger.settle(first, one);
    expect(await why()).toBe('admitted');
  });

  test('slots are renewed while their requests run', async () => {
    const { ask, why, time } = bench([limitOf('concurrent', LimitMetric.CONCURRENT, 0, 2)]);
    await ask();
    await time.pass(10 * minuteMs);
    expect([await why(), await why()]).toEqual(['admitted', 'exhausted']);
  });

  test('users that no limit tells apart share a scope, so that ever new ones take no memory', () => {
    const { quotas } = bench([rpm(5)]);
    const scopes = Array.from({ length: 1_000 }, (_, user) => quotas.ledger.scopeOf('t', 'k', `u${user}`, 'm'));
    expect([new Set(scopes).size, quotas.ledger.scopes]).toEqual([1, 1]);
    const perUser = bench([limitOf('own', LimitMetric.REQUESTS, minuteMs, 5, { perUser: true })]).quotas.ledger;
    const [first, second] = ['a', 'b'].map((user) => perUser.scopeOf('t', 'k', user, 'm') as Scope);
    expect(first!.accounts[0]).not.toBe(second!.accounts[0]);
    expect((perUser.scopeOf('t', 'k', '', 'm') as Scope).accounts).toEqual([]);
  });

  test('the tighter of two limits on what one request may ask for is told', () => {
    const { scope } = bench([limitOf('a', LimitMetric.MAX_TOKENS, 0, 9), limitOf('b', LimitMetric.MAX_TOKENS, 0, 7)]);
    expect(scope).toMatchObject({ maxTokens: 7, maxTokensLimitId: 'b', accounts: [] });
  });
});

describe('leases', () => {
  const away = { error: new CodedError('LOG_UNAVAILABLE', 'the broker is away') };

  test('with the log away what is held is spent, then requests wait their time and are refused', async () => {
    const made = bench([rpm(1_000)]);
    expect(await made.why()).toBe('admitted');
    made.away = away;
    let admitted = 1;
    for (let asked = 0; asked < 50; asked++) if (isReservation(made.quotas.reserve(made.scope, one))) admitted++;
    expect(admitted).toBeGreaterThan(1);
    expect(admitted).toBeLessThanOrEqual(Math.ceil(1_000 * quotaBounds.leaseShareMin));
    expect(await made.why()).toBe('pending');
    made.away = undefined;
    await made.time.pass(quotaBounds.retryMsMax);
    expect(await made.why()).toBe('admitted');
  });

  test('what one gateway holds and does not spend another can have', async () => {
    const first = bench([rpm(100)]);
    for (let asked = 0; asked < 30; asked++) await first.ask();
    const second = bench([rpm(100)], first.time, first.log, 'g:2');
    for (let asked = 0; asked < 70; asked++) await second.ask();
    await first.time.pass(8_000);
    let admitted = 0;
    while (isReservation(await second.ask())) admitted++;
    await first.time.pass(quotaBounds.exhaustedRetryMsMax);
    const left = await second.why();
    expect([left, first.quotas.leaser.counts.returned > 0]).toEqual(['exhausted', true]);
    expect(30 + 70 + admitted).toBeGreaterThanOrEqual(100);
  });

  test('a gateway that stops gives back what it holds', async () => {
    const first = bench([rpm(4)]);
    await first.ask({ input: 1, output: 1 });
    const scarce = bench([tpm(400)], first.time, first.log, 'g:3');
    await scarce.ask({ input: 1, output: 1 });
    await scarce.quotas.stop();
    const next = bench([tpm(400)], first.time, first.log, 'g:4');
    expect(await next.why({ input: 198, output: 200 })).toBe('admitted');
  });

  test('the next window is leased before it begins', async () => {
    const { ask, time, quotas } = bench([rpm(6_000)]);
    await time.pass(minuteMs - (time.clock.nowMs() % minuteMs) - 3_000);
    for (let step = 0; step < 40; step++) {
      expect(isReservation(await ask())).toBe(true);
      await time.pass(100);
    }
    expect(quotas.leaser.counts.failed).toBe(0);
  });
});

describe('the clock', () => {
  test('L40 a gateway whose clock is off by more than the bound spends nothing, also of what it holds', async () => {
    const made = bench([rpm(100)]);
    expect(await made.why()).toBe('admitted');
    const { clock } = made.time;
    const nowMs = clock.nowMs.bind(clock);
    let skewMs = quotaBounds.clockOffMsMax + 1;
    clock.nowMs = () => nowMs() + skewMs;
    expect(await made.why()).toBe('clock');
    skewMs = -quotaBounds.clockOffMsMax - 1;
    expect(await made.why()).toBe('clock');
    skewMs = quotaBounds.clockOffMsMax - 1;
    expect(await made.why()).toBe('admitted');
  });

  test('a measurement that is too vague tells nothing, a better one replaces, one that contradicts too', () => {
    let monotonicMs = 0;
    const clock = new BrokerClock({ nowMs: () => 1_000_000 + monotonicMs, monotonicMs: () => monotonicMs });
    clock.sample(0, 5_000, 1_000_000);
    expect(clock.state).toBe('unknown');
    monotonicMs = 100;
    clock.sample(0, 100, 1_000_080);
    expect([clock.state, clock.skewMs]).toEqual(['good', -30]);
    clock.sample(98, 100, 1_000_101);
    expect(clock.skewMs).toBe(-2);
    clock.sample(0, 100, 1_000_080);
    expect(clock.skewMs).toBe(-2);
    clock.sample(0, 100, 1_009_000);
    expect(clock.state).toBe('off');
  });
});
