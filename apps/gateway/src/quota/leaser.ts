import type { QuotaCommand } from '#libs/domain/tenancy';
import { isFirstOfEpoch, quotaAggregateId, QuotaExhausted, windowEnd, windowStart } from '#libs/domain/tenancy';
import type { Handled } from '#libs/event-log';
import type { Environment, Timer } from '#libs/kernel';
import { errorCode, errorText } from '#libs/kernel';
import type { Account, UnderWay } from './account.ts';
import type { BrokerClock } from './broker-clock.ts';
import type { QuotaLedger } from './ledger.ts';
import { quotaBounds } from './limits.ts';

/** Gives a command to the quota decider. The same id takes effect once. */
export type GiveQuotaCommand = (aggregateId: string, command: QuotaCommand, commandId: string) => Promise<Handled>;

export interface LeaserOptions {
  readonly ledger: QuotaLedger;
  readonly clock: BrokerClock;
  readonly environment: Environment;
  /** "<gateway>:<boot>": a gateway that begins again holds nothing of what it held before. */
  readonly holder: string;
  readonly give: GiveQuotaCommand;
  readonly say: (line: string) => void;
}

const { commitsInFlightMax, retryMsMin, retryMsMax, clockProbeMs } = quotaBounds;

/** Brings leases ahead of need and takes back what lies unused, beside the path of requests. */
export class Leaser {
  /** Commits of leases and returns that took effect, and refusals and failures. */
  readonly counts = { leased: 0, returned: 0, exhausted: 0, failed: 0 };
  readonly #options: LeaserOptions;
  #timer: Timer | undefined;
  #inFlight = 0;
  /** Accounts whose lease waits for one of the commits under way to end: each once. */
  readonly #queue: Account[] = [];
  #ids = 0;
  #ticks = 0;
  #probeAtMs = 0;
  /** What leases take: the longest of late, which fades. */
  #roundTripMs = 0;
  #stopped = false;

  constructor(options: LeaserOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer ??= this.#options.environment.timers.every(quotaBounds.tickMs, () => this.#tick());
  }

  /** Gives back what is held, as far as that is done in time. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    const { ledger, clock, environment } = this.#options;
    const nowMs = clock.nowMs();
    const returns = [...ledger.active].map((account) => this.#giveBack(account, nowMs, true));
    const late = Promise.withResolvers<void>();
    const timer = environment.timers.after(quotaBounds.stopMsMax, late.resolve);
    await Promise.race([Promise.all(returns), late.promise]);
    timer.cancel();
  }

  /** Asks for what an account wants, unless a lease is under way. `waits`: a request waits for it. */
  ask(account: Account, waits = false): void {
    const { clock } = this.#options;
    const monotonicMs = clock.monotonicMs();
    if (this.#stopped || account.busy || monotonicMs < account.retryAtMs) return;
    account.underWay ??= this.#plan(account, monotonicMs, waits);
    if (account.underWay === undefined) return;
    account.busy = true;
    if (this.#inFlight < commitsInFlightMax) void this.#lease(account, account.underWay);
    else this.#queue.push(account);
  }

  #plan(account: Account, sentMs: number, waits: boolean): UnderWay | undefined {
    const { clock } = this.#options;
    const nowMs = clock.nowMs();
    const wanted = clock.state === 'off' ? undefined : account.wants(nowMs, this.#roundTripMs);
    if (wanted !== undefined) return { ...wanted, leaseId: this.#newId(), sentMs, probes: false };
    // A clock that is off, or not known well enough, may come right: to measure it costs a commit and no units.
    if (!waits || clock.state === 'good' || sentMs < this.#probeAtMs) return undefined;
    this.#probeAtMs = sentMs + clockProbeMs;
    const windowStartMs = windowStart(account.quota.windowMs, nowMs);
    return { windowStartMs, units: 0, unitsMin: 0, leaseId: this.#newId(), sentMs, probes: true };
  }

  #tick(): void {
    const { ledger, clock } = this.#options;
    const nowMs = clock.nowMs();
    ledger.tick(nowMs, (account) => {
      this.ask(account);
      void this.#giveBack(account, nowMs, false);
    });
    if (++this.#ticks % sweepTicks === 0) ledger.sweep(nowMs);
  }

  async #lease(account: Account, asked: UnderWay): Promise<void> {
    const { clock } = this.#options;
    const fromMs = clock.monotonicMs();
    this.#inFlight++;
    try {
      const asUnits = asked.probes || account.kind === 'window';
      const granted = asUnits ? await this.#leaseUnits(account, asked) : await this.#leaseSlots(account, asked);
      account.underWay = undefined;
      account.failures = 0;
      this.counts.leased++;
      if (granted !== undefined && !asked.probes) {
        account.credit(asked.windowStartMs, granted.units, granted.leased, clock.nowMs());
      }
    } catch (thrown) {
      this.#onFailed(account, asked, thrown);
    } finally {
      this.#inFlight--;
      const tookMs = Math.min(quotaBounds.roundTripMsMax, clock.monotonicMs() - fromMs);
      this.#roundTripMs = Math.max(tookMs, this.#roundTripMs * quotaBounds.roundTripFade);
      this.#wake(account);
      const next = this.#stopped ? undefined : this.#queue.shift();
      if (next?.underWay !== undefined) void this.#lease(next, next.underWay);
    }
  }

  /** Those that waited take what came; what the rest of them need is asked for at once, for all together. */
  #wake(account: Account): void {
    const asksAgain = !this.#stopped && this.#options.clock.monotonicMs() >= account.retryAtMs;
    account.busy = asksAgain;
    wakeAll(account);
    if (!asksAgain) return;
    account.busy = false;
    if (account.waiters.size === 0) return;
    this.ask(account, true);
    // Nothing is under way: nobody waits for it.
    if (!account.busy) wakeAll(account);
  }

  #onFailed(account: Account, asked: UnderWay, thrown: unknown): void {
    const { clock, say } = this.#options;
    const nowMs = clock.nowMs();
    if (thrown instanceof QuotaExhausted) {
      account.underWay = undefined;
      this.counts.exhausted++;
      account.exhaust(asked.windowStartMs, asked.unitsMin, thrown.remaining, nowMs);
      return;
    }
    this.counts.failed++;
    if (account.failures++ === 0) say(`no lease of ${account.quota.limit.limitId}: ${errorText(thrown)}; trying again`);
    account.retryAtMs = clock.monotonicMs() + Math.min(retryMsMax, retryMsMin * 2 ** Math.min(10, account.failures));
    // Its effect may still come, or have come: under the same id it is found. With its window it is over.
    const isOver = nowMs >= windowEnd(account.quota.windowMs, asked.windowStartMs);
    if (isOver || !errorCode(thrown).startsWith('LOG_')) account.underWay = undefined;
  }

  async #leaseUnits(account: Account, asked: UnderWay): Promise<Granted | undefined> {
    const { holder } = this.#options;
    const { leaseId, windowStartMs, units, unitsMin } = asked;
    const { quota } = account;
    const command = { type: 'LeaseQuota', leaseId, holder, windowStartMs, units, unitsMin, ...known(account) } as const;
    const data = await this.#give(
      quotaAggregateId(quota.key, quota.windowMs, windowStartMs),
      command,
      leaseId,
      asked.sentMs,
    );
    return data === undefined ? undefined : { units: data['units'] as number, leased: data['leased'] as number };
  }

  async #leaseSlots(account: Account, asked: UnderWay): Promise<Granted | undefined> {
    const { holder } = this.#options;
    const { leaseId, windowStartMs, units, unitsMin } = asked;
    const { key, windowMs } = account.quota;
    const command = { type: 'LeaseSlots', holder, windowStartMs, windowMs, ...known(account) } as const;
    let slots = units;
    let slotsMin = unitsMin;
    if (isFirstOfEpoch(windowMs, windowStartMs)) {
      // Another aggregate begins, which knows nothing of the window before: the old one decides first.
      const before = quotaAggregateId(key, windowMs, windowStartMs - windowMs);
      const data = await this.#give(before, { ...command, slots, slotsMin }, `${leaseId}:before`, asked.sentMs);
      // Where nothing changed it is held already, and no more than the least that was asked for is certain.
      slots = data === undefined ? slotsMin : (data['slots'] as number);
      slotsMin = slots;
    }
    const id = quotaAggregateId(key, windowMs, windowStartMs);
    const data = await this.#give(id, { ...command, slots, slotsMin }, leaseId, asked.sentMs);
    return { units: data === undefined ? slotsMin : (data['slots'] as number), leased: undefined };
  }

  async #giveBack(account: Account, nowMs: number, everything: boolean): Promise<void> {
    if (!everything && this.#inFlight >= commitsInFlightMax) return;
    const idle = account.takeIdle(nowMs, everything);
    if (idle === undefined) return;
    const { holder, clock } = this.#options;
    const leaseId = this.#newId();
    const { key, windowMs } = account.quota;
    const id = quotaAggregateId(key, windowMs, idle.windowStartMs);
    this.#inFlight++;
    try {
      await this.#give(id, { type: 'ReturnQuota', leaseId, holder, ...idle }, leaseId, clock.monotonicMs());
      this.counts.returned++;
    } catch {
      // It is off the account already: at worst it is lost for its window.
      this.counts.failed++;
    } finally {
      this.#inFlight--;
    }
  }

  /** The data of the event that the command made; undefined where it changed nothing. */
  async #give(
    id: string,
    command: QuotaCommand,
    commandId: string,
    sentMs: number,
  ): Promise<Record<string, unknown> | undefined> {
    const { clock, give } = this.#options;
    const { events, storedAtMs, appendedMs } = await give(id, command, commandId);
    if (storedAtMs !== undefined) {
      // A command reads before and after it writes: the time of the write alone tells the broker's clock better.
      clock.sample(appendedMs?.from ?? sentMs, appendedMs?.to ?? clock.monotonicMs(), storedAtMs);
    }
    return events.at(-1)?.data as Record<string, unknown> | undefined;
  }

  #newId(): string {
    return `${this.#options.holder}:${++this.#ids}`;
  }
}

function wakeAll({ waiters }: Account): void {
  const waiting = [...waiters];
  waiters.clear();
  for (const waiter of waiting) waiter();
}

interface Granted {
  readonly units: number;
  readonly leased: number | undefined;
}

/** How many ticks between two looks for accounts that hold nothing. */
const sweepTicks = 100;

const known = ({ quota: { tenantId, limit, limitsSeq } }: Account) => ({
  tenantId,
  limitId: limit.limitId,
  amount: limit.amount,
  limitsSeq,
});
