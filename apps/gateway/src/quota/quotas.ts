import type { TenantLimits } from '#libs/domain/tenancy';
import type { Environment } from '#libs/kernel';
import { CodedError } from '#libs/kernel';
import type { GiveBudgetCommand } from './budgets.ts';
import { Budgets } from './budgets.ts';
import { BrokerClock } from './broker-clock.ts';
import type { GiveQuotaCommand } from './leaser.ts';
import { Leaser } from './leaser.ts';
import type { Reservation, Scope, Shortage, Tokens } from './ledger.ts';
import { QuotaLedger } from './ledger.ts';
import { quotaBounds } from './limits.ts';

export interface QuotasOptions {
  readonly environment: Environment;
  /** "<gateway>:<boot>" */
  readonly holder: string;
  readonly give: GiveQuotaCommand;
  readonly giveBudget?: GiveBudgetCommand;
  /** Of the prices. */
  readonly currency?: () => string;
  readonly limitsOf: (tenantId: string) => TenantLimits | undefined;
  readonly say: (line: string) => void;
}

const noBudgets: GiveBudgetCommand = async () => {
  throw new CodedError('QUOTA_NO_BUDGETS', 'nobody counts budgets here');
};

export const isReservation = (result: Reservation | Shortage): result is Reservation => 'open' in result;

/** The limits as requests meet them: reserve, perhaps after a short wait; then settle or cancel. */
export class Quotas {
  readonly clock: BrokerClock;
  readonly ledger: QuotaLedger;
  readonly budgets: Budgets;
  readonly leaser: Leaser;
  readonly refusals: Record<Shortage['why'], number> = {
    pending: 0,
    exhausted: 0,
    'too-large': 0,
    clock: 0,
    crowded: 0,
  };
  readonly #environment: Environment;

  constructor(options: QuotasOptions) {
    const { environment, holder, give, giveBudget = noBudgets, currency = () => '', limitsOf, say } = options;
    this.#environment = environment;
    this.clock = new BrokerClock(environment.clock);
    this.budgets = new Budgets({ clock: this.clock, environment, holder, currency, give: giveBudget, say });
    this.ledger = new QuotaLedger(this.clock, limitsOf, this.budgets);
    this.leaser = new Leaser({ ledger: this.ledger, clock: this.clock, environment, holder, give, say });
  }

  start(): void {
    this.leaser.start();
    this.budgets.start();
  }

  async stop(): Promise<void> {
    await Promise.all([this.leaser.stop(), this.budgets.stop()]);
  }

  /** At once. Where it is short of something, that is asked for. */
  reserve(scope: Scope, tokens: Tokens): Reservation | Shortage {
    const result = this.ledger.reserve(scope, tokens);
    if (!isReservation(result)) for (const account of scope.accounts) this.leaser.ask(account, true);
    return result;
  }

  /**
   * Tries again when the lease that a request is short of has come, until it has it, it is refused, or the time is over. `done` is called
   * once, later. Answers how to give up.
   */
  wait(scope: Scope, tokens: Tokens, shortage: Shortage, done: (result: Reservation | Shortage) => void): () => void {
    let short = shortage;
    const end = (result: Reservation | Shortage): void => {
      timer.cancel();
      short.account?.waiters.delete(again);
      done(result);
    };
    const again = (): void => {
      const result = this.reserve(scope, tokens);
      if (isReservation(result) || !this.canWait(result)) return end(result);
      short = result;
      short.account?.waiters.add(again);
    };
    const timer = this.#environment.timers.after(quotaBounds.leaseWaitMsMax, () => end(short));
    short.account?.waiters.add(again);
    return () => {
      timer.cancel();
      short.account?.waiters.delete(again);
    };
  }

  /** Whether waiting may help: a lease is under way, and not too many wait for it. */
  canWait({ why, account }: Shortage): boolean {
    return why === 'pending' && account?.busy === true && account.waiters.size < quotaBounds.waitersMax;
  }
}
