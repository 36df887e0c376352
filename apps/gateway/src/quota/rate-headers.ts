import { tenancy } from '#libs/contracts';
import { windowsMs } from '#libs/domain/tenancy';
import type { Account } from './account.ts';

const { LimitMetric } = tenancy;

const isTokens = (metric: tenancy.LimitMetric): boolean =>
  metric === LimitMetric.TOKENS || metric === LimitMetric.INPUT_TOKENS || metric === LimitMetric.OUTPUT_TOKENS;

/** A time as OpenAI writes it: `850ms`, `12.5s`, `6m0s`, `1h0m3s`. */
export function resetText(ms: number): string {
  if (ms < 1_000) return `${Math.max(0, Math.ceil(ms))}ms`;
  if (ms < 60_000) return `${Math.ceil(ms / 100) / 10}s`;
  const seconds = Math.ceil(ms / 1_000);
  const hours = Math.floor(seconds / 3_600);
  return `${hours === 0 ? '' : `${hours}h`}${Math.floor((seconds % 3_600) / 60)}m${seconds % 60}s`;
}

/** The counts that headers tell of, by kind: which they are changes with the limits alone. */
export interface Told {
  readonly requests: readonly Account[];
  readonly tokens: readonly Account[];
}

export function toldOf(accounts: readonly Account[]): Told {
  const told = accounts.filter(({ kind, quota }) => kind === 'window' && quota.limit.metric !== LimitMetric.COST);
  return {
    requests: told.filter(({ quota }) => !isTokens(quota.limit.metric)),
    tokens: told.filter(({ quota }) => isTokens(quota.limit.metric)),
  };
}

/** The count that will run out first. */
function tightest(accounts: readonly Account[], nowMs: number): Account | undefined {
  if (accounts.length < 2) return accounts[0];
  let found: Account | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (const account of accounts) {
    const { amount } = account.quota.limit;
    const left = amount === 0 ? 0 : account.remaining(nowMs) / amount;
    if (left >= least) continue;
    least = left;
    found = account;
  }
  return found;
}

/** `x-ratelimit-*` as OpenAI sends them; in compat also AIBrix's counts of the minute. */
export function appendRateHeaders(out: string[], { requests, tokens }: Told, nowMs: number, compat: boolean): void {
  appendKind(out, requestNames, tightest(requests, nowMs), nowMs, compat);
  appendKind(out, tokenNames, tightest(tokens, nowMs), nowMs, compat);
}

const namesOf = (kind: string, used: string) => ({
  limit: `x-ratelimit-limit-${kind}`,
  remaining: `x-ratelimit-remaining-${kind}`,
  reset: `x-ratelimit-reset-${kind}`,
  used,
});
const requestNames = namesOf('requests', 'x-update-rpm');
const tokenNames = namesOf('tokens', 'x-update-tpm');

function appendKind(
  out: string[],
  names: ReturnType<typeof namesOf>,
  account: Account | undefined,
  nowMs: number,
  compat: boolean,
): void {
  if (account === undefined) return;
  const { quota } = account;
  const { amount } = quota.limit;
  const remaining = account.remaining(nowMs);
  out.push(names.limit, String(amount), names.remaining, String(remaining));
  out.push(names.reset, resetText(account.resetMs(nowMs)));
  if (compat && quota.windowMs === windowsMs.minute) out.push(names.used, String(amount - remaining));
}

/** AIBrix's marker of the refusal. */
export const markerOf = (metric: tenancy.LimitMetric): readonly [string, string] | undefined =>
  metric === LimitMetric.COST
    ? undefined
    : [isTokens(metric) ? 'x-error-tpm-exceeded' : 'x-error-rpm-exceeded', 'true'];
