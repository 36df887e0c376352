import type { tenancy } from '#libs/contracts';
import type { BudgetEvent, LimitScope, ReportSpend } from '#libs/domain/tenancy';
import { quotaAggregateId, quotaKey, windowEnd, windowStart } from '#libs/domain/tenancy';
import type { Handled } from '#libs/event-log';
import type { Environment, Timer } from '#libs/kernel';
import { errorCode, errorText } from '#libs/kernel';
import type { BrokerClock } from './broker-clock.ts';
import { quotaBounds } from './limits.ts';

const { budgetsMax, budgetReportMsMin, budgetReportMsMax, budgetReportShare, retryMsMin, retryMsMax } = quotaBounds;

/** Gives a command to the budget decider. The same id takes effect once. */
export type GiveBudgetCommand = (aggregateId: string, command: ReportSpend, commandId: string) => Promise<Handled>;

export interface BudgetsOptions {
  readonly clock: BrokerClock;
  readonly environment: Environment;
  /** "<gateway>:<boot>" */
  readonly holder: string;
  readonly currency: () => string;
  readonly give: GiveBudgetCommand;
  readonly say: (line: string) => void;
}

/** What this gateway has spent of one budget. */
export interface BudgetCount {
  readonly key: string;
  readonly scope: LimitScope;
  limit: tenancy.Limit;
  limitsSeq: number;
  startMs: number;
  spent: number;
  reported: number;
  /** As the log last said, of all gateways. */
  total: number;
}

interface Spending {
  readonly count: BudgetCount;
  readonly startMs: number;
  spent: number;
  reported: number;
  reportedAtMs: number;
  failures: number;
  underWay: { readonly command: ReportSpend; readonly commandId: string } | undefined;
  busy: boolean;
}

/** Counts what requests cost against budgets and reports it to the log, which tells once when an alert is reached. */
export class Budgets {
  readonly counts = new Map<string, BudgetCount>();
  /** Alerts that a report of this gateway reached, reports that failed, and costs that were not counted for want of room. */
  readonly told = { reported: 0, failed: 0, uncounted: 0 };
  readonly alerts = new Map<number, number>();
  readonly #options: BudgetsOptions;
  /** One for each budget and window in which something was spent that is not reported yet, or that goes on. */
  readonly #spending = new Map<string, Spending>();
  #timer: Timer | undefined;
  #ids = 0;

  constructor(options: BudgetsOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer ??= this.#options.environment.timers.every(budgetReportMsMin, () => this.#tick());
  }

  /** Reports what is left, as far as that is done in time. */
  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    const late = Promise.withResolvers<void>();
    const timer = this.#options.environment.timers.after(quotaBounds.stopMsMax, late.resolve);
    const reports = [...this.#spending.values()].filter(isUnreported).map((one) => this.#report(one));
    await Promise.race([Promise.all(reports), late.promise]);
    timer.cancel();
  }

  /** Undefined where there is no room for another. */
  countOf(limit: tenancy.Limit, scope: LimitScope, limitsSeq: number): BudgetCount | undefined {
    const key = quotaKey(limit, scope);
    const known = this.counts.get(key);
    if (known !== undefined) {
      if (known.limitsSeq < limitsSeq) Object.assign(known, { limit, limitsSeq });
      return known;
    }
    if (this.counts.size >= budgetsMax) return undefined;
    const made = { key, scope, limit, limitsSeq, startMs: Number.NaN, spent: 0, reported: 0, total: 0 };
    this.counts.set(key, made);
    return made;
  }

  add(count: BudgetCount, costNano: number): void {
    if (costNano === 0) return;
    const nowMs = this.#options.clock.nowMs();
    const startMs = windowStart(count.limit.windowMs, nowMs);
    if (startMs !== count.startMs) Object.assign(count, { startMs, total: 0 });
    const name = `${count.key}@${startMs}`;
    let spending = this.#spending.get(name);
    if (spending === undefined) {
      spending = {
        count,
        startMs,
        spent: 0,
        reported: 0,
        reportedAtMs: nowMs,
        failures: 0,
        underWay: undefined,
        busy: false,
      };
      this.#spending.set(name, spending);
      this.counts.set(count.key, count);
    }
    spending.spent += costNano;
  }

  #tick(): void {
    const nowMs = this.#options.clock.nowMs();
    for (const [name, spending] of this.#spending) {
      if (isUnreported(spending)) {
        if (isDue(spending, nowMs)) void this.#report(spending);
        // What one gateway says of a window only grows: it is kept until the window is over.
      } else if (nowMs >= windowEnd(spending.count.limit.windowMs, spending.startMs) + budgetReportMsMax) {
        this.#spending.delete(name);
        if (spending.count.startMs === spending.startMs) this.counts.delete(spending.count.key);
      }
    }
  }

  async #report(spending: Spending): Promise<void> {
    if (spending.busy) return;
    const { give, say, clock } = this.#options;
    const { count } = spending;
    spending.busy = true;
    spending.underWay ??= { command: this.#command(spending), commandId: this.#newId() };
    const { command, commandId } = spending.underWay;
    const id = quotaAggregateId(count.key, count.limit.windowMs, spending.startMs);
    try {
      const { events } = await give(id, command, commandId);
      spending.reported = command.spent;
      spending.underWay = undefined;
      spending.failures = 0;
      this.told.reported++;
      this.#learn(spending, events as unknown as readonly BudgetEvent[]);
    } catch (thrown) {
      this.told.failed++;
      if (spending.failures++ === 0) say(`no report of ${count.limit.limitId}: ${errorText(thrown)}; trying again`);
      // Its effect may have come all the same: under the same id it is found.
      if (!errorCode(thrown).startsWith('LOG_')) spending.underWay = undefined;
    } finally {
      spending.busy = false;
      spending.reportedAtMs = clock.nowMs();
    }
  }

  #learn({ count, startMs }: Spending, events: readonly BudgetEvent[]): void {
    for (const { type, data } of events) {
      if (type === 'SpendReported') {
        if (count.startMs === startMs) count.total = data.total ?? 0;
        continue;
      }
      const { tenantId, limitId, percent = 0 } = data;
      this.alerts.set(percent, (this.alerts.get(percent) ?? 0) + 1);
      this.#options.say(`budget "${limitId}" of tenant ${tenantId} has reached ${percent} %`);
    }
  }

  #command({ count, startMs, spent }: Spending): ReportSpend {
    const { limit, limitsSeq, scope } = count;
    const { holder, currency } = this.#options;
    return {
      type: 'ReportSpend',
      tenantId: scope.tenantId,
      limitId: limit.limitId,
      holder,
      windowStartMs: startMs,
      spent,
      limitsSeq,
      windowMs: limit.windowMs,
      amount: limit.amount,
      alertPercents: limit.alertPercents,
      soft: limit.soft,
      projectId: limit.perProject || limit.projectId !== '' ? scope.projectId : '',
      keyId: limit.perKey || limit.keyId !== '' ? scope.keyId : '',
      endUser: limit.perUser ? scope.endUser : '',
      model: limit.perModel ? scope.model : '',
      currency: currency(),
    };
  }

  #newId(): string {
    return `${this.#options.holder}:budget:${++this.#ids}`;
  }
}

const isUnreported = ({ spent, reported }: Spending): boolean => spent > reported;

/** Soon where it may reach an alert or is a good part of the budget; else when it is old. */
function isDue({ count, startMs, spent, reported, reportedAtMs, failures }: Spending, nowMs: number): boolean {
  const ageMs = nowMs - reportedAtMs;
  const waitMs = failures === 0 ? budgetReportMsMin : Math.min(retryMsMax, retryMsMin * 2 ** Math.min(10, failures));
  if (ageMs < waitMs) return false;
  if (ageMs >= budgetReportMsMax) return true;
  const { amount, alertPercents } = count.limit;
  const unreported = spent - reported;
  const total = startMs === count.startMs ? count.total : 0;
  const reaches = (percent: number): boolean => {
    const at = (amount / 100) * percent;
    return total < at && total + unreported >= at;
  };
  return unreported >= amount * budgetReportShare || alertPercents.some(reaches);
}
