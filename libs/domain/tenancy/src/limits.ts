import { createHash } from 'node:crypto';
import { tenancy } from '#libs/contracts';

const { LimitMetric } = tenancy;

const secondMs = 1_000;
export const windowsMs = {
  second: secondMs,
  minute: 60 * secondMs,
  hour: 3_600 * secondMs,
  day: 86_400 * secondMs,
  /** The name of the calendar month (UTC), by the length of the longest. */
  month: 31 * 86_400 * secondMs,
} as const;
export type WindowName = keyof typeof windowsMs;

/** Windows in which slots for concurrent requests are leased: a dead gateway's come back after at most two. */
export const slotWindowMs = 15_000;

export const windowNameOf = (windowMs: number): WindowName | undefined =>
  (Object.keys(windowsMs) as WindowName[]).find((name) => windowsMs[name] === windowMs);

/** Metrics that are counted over windows of time. */
export const isWindowed = (metric: tenancy.LimitMetric): boolean =>
  metric !== LimitMetric.CONCURRENT && metric !== LimitMetric.MAX_TOKENS;

const amountMax = Number.MAX_SAFE_INTEGER;
const alertsMax = 16;
const alertPercentMax = 1_000;

/** A limit with alerts, or one that only tells. */
export const isBudget = ({ alertPercents, soft }: tenancy.Limit): boolean => alertPercents.length > 0 || soft;

/** What is wrong with a limit, in words; undefined where nothing is. */
export function problemOf(limit: tenancy.Limit): string | undefined {
  const { limitId, metric, windowMs, amount } = limit;
  if (limitId === '' || limitId.length > 128) return 'its id needs 1 to 128 characters';
  if (metric === LimitMetric.UNSPECIFIED || LimitMetric[metric] === undefined) return 'it does not say what it counts';
  if (!Number.isInteger(amount) || amount < 0 || amount > amountMax) return 'its amount is no whole number';
  if (isWindowed(metric) && windowNameOf(windowMs) === undefined) {
    return `its window is none of ${Object.keys(windowsMs).join(', ')}`;
  }
  if (isBudget(limit) && metric !== LimitMetric.COST) return 'only a limit of cost can be a budget';
  const { alertPercents } = limit;
  if (alertPercents.length > alertsMax) return `it has more than ${alertsMax} alerts`;
  if (
    !alertPercents.every((percent, index) => percent > (alertPercents[index - 1] ?? 0) && percent <= alertPercentMax)
  ) {
    return `its alerts are not percents from 1 to ${alertPercentMax}, each above the one before`;
  }
  return undefined;
}

/** Whose spending a limit counts, where it counts each of some kind apart. */
export interface LimitScope {
  readonly tenantId: string;
  /** Empty where the key is of none. */
  readonly projectId: string;
  readonly keyId: string;
  readonly endUser: string;
  readonly model: string;
}

export function limitApplies(limit: tenancy.Limit, { projectId, keyId, endUser, model }: LimitScope): boolean {
  if (limit.projectId !== '' && limit.projectId !== projectId) return false;
  if (limit.perProject && projectId === '') return false;
  if (limit.keyId !== '' && limit.keyId !== keyId) return false;
  if (limit.perUser && endUser === '') return false;
  return limit.models.length === 0 || limit.models.includes(model);
}

/**
 * Names one count of one limit: a hash, so that no text of a client becomes part of a subject. What is counted and over which windows is
 * in it, since the same id may later name another limit.
 */
export function quotaKey(limit: tenancy.Limit, scope: LimitScope): string {
  const parts = [
    scope.tenantId,
    limit.limitId,
    LimitMetric[limit.metric],
    String(limit.windowMs),
    limit.perKey || limit.keyId !== '' ? scope.keyId : '',
    limit.perUser ? scope.endUser : '',
    limit.perModel ? scope.model : '',
    ...(limit.perProject || limit.projectId !== '' ? [scope.projectId] : []),
  ];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 40);
}

/** So much time goes into one aggregate, so that none grows without bound and a gateway that begins has little to read. */
export function epochMs(windowMs: number): number {
  if (windowMs <= windowsMs.second) return 5 * windowsMs.minute;
  if (windowMs <= windowsMs.minute) return 2 * windowsMs.hour;
  return Math.max(windowMs, windowsMs.day);
}

/** The aggregate that holds the window. */
export const quotaAggregateId = (key: string, windowMs: number, windowStartMs: number): string =>
  `${key}-${Math.floor(windowStartMs / epochMs(windowMs)).toString(36)}`;

export const isFirstOfEpoch = (windowMs: number, windowStartMs: number): boolean =>
  windowStartMs % epochMs(windowMs) === 0;

export const windowStart = (windowMs: number, nowMs: number): number =>
  windowMs === windowsMs.month ? monthStart(nowMs, 0) : Math.floor(nowMs / windowMs) * windowMs;

/** When the window ends that begins then: where the next one begins. */
export const windowEnd = (windowMs: number, windowStartMs: number): number =>
  windowMs === windowsMs.month ? monthStart(windowStartMs, 1) : windowStartMs + windowMs;

function monthStart(atMs: number, monthsLater: number): number {
  const at = new Date(atMs);
  return Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + monthsLater, 1);
}
