import { tenancy } from '#libs/contracts';
import type { LimitScope, TenantLimits } from '#libs/domain/tenancy';
import { isBudget, limitApplies, quotaKey, slotWindowMs } from '#libs/domain/tenancy';
import type { Account } from './account.ts';
import type { BudgetCount, Budgets } from './budgets.ts';
import type { BrokerClock } from './broker-clock.ts';
import { quotaBounds } from './limits.ts';
import type { Told } from './rate-headers.ts';
import { toldOf } from './rate-headers.ts';
import { SlotAccount } from './slot-account.ts';
import { WindowAccount } from './window-account.ts';

const { LimitMetric } = tenancy;

/** The limits that one kind of request of one caller comes under. */
export interface Scope {
  readonly accounts: readonly Account[];
  /** Of them those that headers tell of. */
  readonly told: Told;
  /** Told of what it cost. */
  readonly budgets: readonly BudgetCount[];
  /** Output tokens that one request may ask for. */
  readonly maxTokens: number;
  readonly maxTokensLimitId: string;
  /** One of them counts cost. */
  readonly countsCost: boolean;
  readonly seq: number;
  /** Of the key, which may be moved to another. */
  readonly projectId: string;
}

export interface Tokens {
  readonly input: number;
  readonly output: number;
  /** Billionths of the currency; counted where a limit counts cost. */
  readonly costNano?: number;
}

/** What a request may spend. Settled or cancelled once. */
export interface Reservation {
  readonly scope: Scope;
  readonly tokens: Tokens;
  readonly windows: readonly number[];
  open: boolean;
}

/** Why a request may not go on now. */
export interface Shortage {
  readonly account: Account | undefined;
  /**
   * `pending`: a lease may bring it. `exhausted`: the window is used up. `too-large`: more than the limit ever allows. `clock`: this gateway's
   * clock is off. `crowded`: more counts than are kept.
   */
  readonly why: 'pending' | 'exhausted' | 'too-large' | 'clock' | 'crowded';
  readonly needed: number;
}

const noTokens: Tokens = { input: 0, output: 0 };

/** What a request counts of this metric. */
export function unitsOf(metric: tenancy.LimitMetric, { input, output, costNano = 0 }: Tokens): number {
  switch (metric) {
    case LimitMetric.INPUT_TOKENS:
      return input;
    case LimitMetric.OUTPUT_TOKENS:
      return output;
    case LimitMetric.TOKENS:
      return input + output;
    case LimitMetric.COST:
      return costNano;
    default:
      return 1;
  }
}

/** Everything that this gateway holds of limits. Synchronous; leases are brought by the leaser. */
export class QuotaLedger {
  readonly accounts = new Map<string, Account>();
  /** Those in which something goes on. */
  readonly active = new Set<Account>();
  readonly #scopes = new Map<string, Scope>();
  /** Whether a set of limits tells users apart. */
  readonly #perUser = new WeakMap<TenantLimits, boolean>();
  readonly #clock: BrokerClock;
  readonly #limitsOf: (tenantId: string) => TenantLimits | undefined;

  constructor(
    clock: BrokerClock,
    limitsOf: (tenantId: string) => TenantLimits | undefined,
    readonly budgets: Budgets,
  ) {
    this.#clock = clock;
    this.#limitsOf = limitsOf;
  }

  /** Undefined where no limit applies; `crowded` where it cannot be kept. */
  scopeOf(
    tenantId: string,
    keyId: string,
    endUser: string,
    model: string,
    projectId = '',
  ): Scope | 'crowded' | undefined {
    const set = this.#limitsOf(tenantId);
    if (set === undefined) return undefined;
    // Users are many, and come and go: they have scopes of their own only where that makes a difference.
    const user = this.#tellsUsersApart(set) ? endUser : '';
    const name = `${tenantId}\0${keyId}\0${model}\0${user}`;
    const known = this.#scopes.get(name);
    if (known !== undefined && known.seq === set.seq && known.projectId === projectId) return known;
    return this.#makeScope(name, { tenantId, projectId, keyId, endUser: user, model }, set);
  }

  get scopes(): number {
    return this.#scopes.size;
  }

  /** All or nothing: a request that is short of one limit takes nothing of the others. */
  reserve(scope: Scope, tokens: Tokens): Reservation | Shortage {
    const { accounts } = scope;
    const nowMs = this.#clock.nowMs();
    const { state } = this.#clock;
    let shortage: Shortage | undefined;
    for (const account of accounts) {
      const needed = unitsOf(account.quota.limit.metric, tokens);
      if (state === 'good' && account.has(needed, nowMs)) continue;
      if (needed === 0 && state === 'good') continue;
      const why = this.#whyShort(account, needed, nowMs);
      account.need(needed, nowMs, why === 'pending');
      this.#activate(account);
      // One that is used up decides; else the first that is waited for.
      if (shortage === undefined || shortage.why === 'pending') shortage = { account, why, needed };
    }
    if (shortage !== undefined) return shortage;
    const windows: number[] = [];
    for (const account of accounts) {
      this.#activate(account);
      windows.push(account.take(unitsOf(account.quota.limit.metric, tokens), nowMs));
    }
    return { scope, tokens, windows, open: true };
  }

  /** What was used of what was reserved; the rest comes back, as long as its window lasts. */
  settle(reservation: Reservation, used: Tokens): void {
    this.#close(reservation, used, false);
  }

  /** The request was not served after all: it costs nothing. */
  cancel(reservation: Reservation): void {
    this.#close(reservation, noTokens, true);
  }

  /** Looks at those in which something goes on. */
  tick(nowMs: number, look: (account: Account) => void): void {
    for (const account of this.active) {
      account.tick(nowMs);
      look(account);
      if (!account.isQuiet(nowMs)) continue;
      account.active = false;
      this.active.delete(account);
    }
  }

  /** Forgets what holds nothing. */
  sweep(nowMs: number): void {
    for (const [key, account] of this.accounts) {
      if (account.active || !account.isForgettable(nowMs)) continue;
      this.accounts.delete(key);
      // A scope holds its accounts: made anew when it is next asked for.
      this.#scopes.clear();
    }
  }

  #tellsUsersApart(set: TenantLimits): boolean {
    let perUser = this.#perUser.get(set);
    if (perUser === undefined) this.#perUser.set(set, (perUser = set.limits.some((limit) => limit.perUser)));
    return perUser;
  }

  #activate(account: Account): void {
    if (account.active) return;
    account.active = true;
    this.active.add(account);
  }

  #close(reservation: Reservation, used: Tokens, free: boolean): void {
    if (!reservation.open) return;
    reservation.open = false;
    const nowMs = this.#clock.nowMs();
    const { scope, tokens, windows } = reservation;
    const { accounts } = scope;
    for (let index = 0; index < accounts.length; index++) {
      const account = accounts[index] as Account;
      const { metric } = account.quota.limit;
      const charged = free ? 0 : unitsOf(metric, used);
      account.settle(windows[index] as number, unitsOf(metric, tokens), charged, nowMs);
    }
  }

  #whyShort(account: Account, needed: number, nowMs: number): Shortage['why'] {
    if (needed > account.quota.limit.amount) return 'too-large';
    if (this.#clock.state === 'off') return 'clock';
    return account.isExhausted(needed, nowMs) ? 'exhausted' : 'pending';
  }

  #makeScope(name: string, scope: LimitScope, { limits, seq }: TenantLimits): Scope | 'crowded' | undefined {
    const accounts: Account[] = [];
    const budgets: BudgetCount[] = [];
    let maxTokens = Number.POSITIVE_INFINITY;
    let maxTokensLimitId = '';
    let countsCost = false;
    for (const limit of limits) {
      if (!limitApplies(limit, scope)) continue;
      if (limit.metric === LimitMetric.MAX_TOKENS) {
        if (limit.amount < maxTokens) [maxTokens, maxTokensLimitId] = [limit.amount, limit.limitId];
        continue;
      }
      if (isBudget(limit)) {
        const count = this.budgets.countOf(limit, scope, seq);
        if (count === undefined) this.budgets.told.uncounted++;
        else budgets.push(count);
      }
      if (limit.soft) continue;
      countsCost ||= limit.metric === LimitMetric.COST;
      const account = this.#accountOf(limit, scope, seq);
      if (account === undefined) return 'crowded';
      accounts.push(account);
    }
    if (this.#scopes.size >= quotaBounds.scopesMax) this.#scopes.clear();
    const { projectId } = scope;
    const told = toldOf(accounts);
    const made: Scope = { accounts, told, budgets, maxTokens, maxTokensLimitId, countsCost, seq, projectId };
    this.#scopes.set(name, made);
    return made;
  }

  #accountOf(limit: tenancy.Limit, scope: LimitScope, limitsSeq: number): Account | undefined {
    const key = quotaKey(limit, scope);
    const windowMs = limit.metric === LimitMetric.CONCURRENT ? slotWindowMs : limit.windowMs;
    const quota = { key, tenantId: scope.tenantId, limit, limitsSeq, windowMs };
    const known = this.accounts.get(key);
    if (known !== undefined) {
      if (known.quota.limitsSeq < limitsSeq) known.adopt(quota);
      return known;
    }
    if (this.accounts.size >= quotaBounds.accountsMax) return undefined;
    const made = limit.metric === LimitMetric.CONCURRENT ? new SlotAccount(quota) : new WindowAccount(quota);
    this.accounts.set(key, made);
    return made;
  }
}
