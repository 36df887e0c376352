import { route, tenancy } from '#libs/contracts';
import { isBudget, nanoText, windowNameOf } from '#libs/domain/tenancy';
import type { Refusal } from '../serve/errors.ts';
import type { Account } from './account.ts';
import type { Shortage } from './ledger.ts';
import { quotaBounds } from './limits.ts';
import { markerOf } from './rate-headers.ts';

const { LimitMetric } = tenancy;

const words: Readonly<Record<tenancy.LimitMetric, string>> = {
  [LimitMetric.UNSPECIFIED]: 'units',
  [LimitMetric.REQUESTS]: 'requests',
  [LimitMetric.INPUT_TOKENS]: 'input tokens',
  [LimitMetric.OUTPUT_TOKENS]: 'output tokens',
  [LimitMetric.TOKENS]: 'tokens',
  [LimitMetric.CONCURRENT]: 'requests at once',
  [LimitMetric.MAX_TOKENS]: 'output tokens of one request',
  [LimitMetric.COST]: 'of cost',
};

const outcome = route.Outcome.REJECTED_QUOTA;

/** "limit rpm of tenant acme: 60 requests per minute" */
function nameOf({ quota: { tenantId, limit, windowMs }, kind }: Account): string {
  const window = kind === 'slots' ? '' : ` per ${windowNameOf(windowMs) ?? `${windowMs} ms`}`;
  const what = isBudget(limit) ? 'budget' : 'limit';
  return `${what} "${limit.limitId}" of tenant ${tenantId}, ${amountOf(limit.metric, limit.amount)} ${words[limit.metric]}${window}`;
}

const amountOf = (metric: tenancy.LimitMetric, units: number): string =>
  metric === LimitMetric.COST ? nanoText(units) : String(units);

const seconds = (ms: number): number => Math.max(1, Math.ceil(ms / 1_000));

/** Says which limit, its window, and when. */
export function refusalOf({ account, why, needed }: Shortage, nowMs: number): Refusal {
  if (account === undefined || why === 'crowded') return crowded;
  const marker = markerOf(account.quota.limit.metric);
  const resetMs = account.kind === 'slots' ? quotaBounds.slotsRetryMs : account.resetMs(nowMs);
  const about = nameOf(account);
  const refused = { status: 429, outcome, ...(marker === undefined ? {} : { marker }) };
  const { limit } = account.quota;
  const asked = amountOf(limit.metric, needed);
  switch (why) {
    case 'exhausted': {
      const when =
        account.kind === 'slots'
          ? 'when one of them ends'
          : `in ${seconds(resetMs)} s, when its window ends (${new Date(nowMs + resetMs).toISOString()})`;
      return {
        ...refused,
        code: isBudget(limit) ? 'budget_exceeded' : 'quota_exceeded',
        message: `Over the ${about}: ${asked} needed, too little is left. Try again ${when}.`,
        retryAfterS: seconds(resetMs),
      };
    }
    case 'too-large':
      return {
        ...refused,
        code: 'quota_too_small',
        message: `The request may need ${asked}, more than the ${about}, ever allows. Ask for less, with max_tokens or a shorter prompt.`,
      };
    case 'clock':
      return {
        ...refused,
        code: 'quota_clock_off',
        message: `The clock of this gateway and the broker's differ, so the ${about}, cannot be held here. Try again, at another gateway.`,
        retryAfterS: seconds(quotaBounds.clockProbeMs),
      };
    case 'pending':
      return {
        ...refused,
        code: 'quota_unavailable',
        message: `This gateway has nothing left of what it holds of the ${about}, and could not get more in time. Try again.`,
        retryAfterS: 1,
      };
  }
}

export const crowded: Refusal = {
  status: 429,
  code: 'quota_crowded',
  message: `Limits are counted for more than ${quotaBounds.accountsMax} users and keys at once. Try again in a minute.`,
  outcome,
  marker: ['x-error-rpm-exceeded', 'true'],
  retryAfterS: 60,
};

/** What has no price cannot be held to a limit of cost. */
export const unpriced = (model: string): Refusal => ({
  status: 403,
  code: 'model_unpriced',
  message: `Model "${model}" has no price in force, and a limit of this key counts cost. Ask for another model, or have it priced.`,
  param: 'model',
  outcome,
});

export const maxTokensExceeded = (limitId: string, asked: number, most: number): Refusal => ({
  status: 400,
  code: 'max_tokens_exceeded',
  message: `max_tokens is ${asked}; limit "${limitId}" allows ${most}. Ask for no more.`,
  param: 'max_tokens',
  outcome: route.Outcome.REJECTED_BAD_REQUEST,
});
