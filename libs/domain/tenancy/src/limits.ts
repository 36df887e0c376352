import { createHash } from 'node:crypto';
import { tenancy } from '#libs/contracts';

const { LimitMetric } = tenancy;

const secondMs = 1_000;
export const windowsMs = {
  second: secondMs,
  minute: 60 * secondMs,
  hour: 3_600 * secondMs,
  day: 86_400 * secondMs,
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

/** What is wrong with a limit, in words; undefined where nothing is. */
export function problemOf(limit: tenancy.Limit): string | undefined {
  const { limitId, metric, windowMs, amount } = limit;
  if (limitId === '' || limitId.length > 128) return 'its id needs 1 to 128 characters';
  if (metric === LimitMetric.UNSPECIFIED || LimitMetric[metric] === undefined) return 'it does not say what it counts';
  if (!Number.isInteger(amount) || amount < 0 || amount > amountMax) return 'its amount is no whole number';
  if (isWindowed(metric) && windowNameOf(windowMs) === undefined) {
    return `its window is none of ${Object.keys(windowsMs).join(', ')}`;
  }
  return undefined;
}

/** Whose spending a limit counts, where it counts each of some kind apart. */
export interface LimitScope {
  readonly tenantId: string;
  readonly keyId: string;
  readonly endUser: string;
  readonly model: string;
}

export function limitApplies(limit: tenancy.Limit, { keyId, endUser, model }: LimitScope): boolean {
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

export const windowStart = (windowMs: number, nowMs: number): number => Math.floor(nowMs / windowMs) * windowMs;
