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

/** The count that will run out first, of those of a kind. */
function tightest(accounts: readonly Account[], tokens: boolean, nowMs: number): Account | undefined {
  let found: Account | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (const account of accounts) {
    const { metric, amount } = account.quota.limit;
    if (account.kind !== 'window' || metric === LimitMetric.COST || isTokens(metric) !== tokens) continue;
    const left = amount === 0 ? 0 : account.remaining(nowMs) / amount;
    if (left >= least) continue;
    least = left;
    found = account;
  }
  return found;
}

/** `x-ratelimit-*` as OpenAI sends them; in compat also AIBrix's counts of the minute. */
export function appendRateHeaders(out: string[], accounts: readonly Account[], nowMs: number, compat: boolean): void {
  for (const kind of ['requests', 'tokens'] as const) {
    const account = tightest(accounts, kind === 'tokens', nowMs);
    if (account === undefined) continue;
    const { amount } = account.quota.limit;
    out.push(
      `x-ratelimit-limit-${kind}`,
      String(amount),
      `x-ratelimit-remaining-${kind}`,
      String(account.remaining(nowMs)),
      `x-ratelimit-reset-${kind}`,
      resetText(account.resetMs(nowMs)),
    );
    if (compat && account.quota.windowMs === windowsMs.minute) {
      const name = kind === 'tokens' ? 'x-update-tpm' : 'x-update-rpm';
      out.push(name, String(amount - account.remaining(nowMs)));
    }
  }
}

/** AIBrix's marker of the refusal. */
export const markerOf = (metric: tenancy.LimitMetric): readonly [string, string] | undefined =>
  metric === LimitMetric.COST
    ? undefined
    : [isTokens(metric) ? 'x-error-tpm-exceeded' : 'x-error-rpm-exceeded', 'true'];
