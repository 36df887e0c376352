import { create } from '@bufbuild/protobuf';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { tenancy } from '#libs/contracts';
import type { Decider } from '#libs/event-log';
import { CodedError } from '#libs/kernel';

/** The limit as the asker knows it. The newest that an aggregate has seen holds. */
interface KnownLimit {
  readonly tenantId: string;
  readonly limitId: string;
  readonly amount: number;
  readonly limitsSeq: number;
}

export interface LeaseQuota extends KnownLimit {
  readonly type: 'LeaseQuota';
  readonly leaseId: string;
  readonly holder: string;
  readonly windowStartMs: number;
  /** As much as would be of use. */
  readonly units: number;
  /** Less than this is of no use; 0 with `units` 0 only measures the broker's clock. */
  readonly unitsMin: number;
}

export interface ReturnQuota {
  readonly type: 'ReturnQuota';
  readonly leaseId: string;
  readonly holder: string;
  readonly windowStartMs: number;
  readonly units: number;
}

export interface LeaseSlots extends KnownLimit {
  readonly type: 'LeaseSlots';
  readonly holder: string;
  readonly windowStartMs: number;
  readonly windowMs: number;
  /** As many as would be of use, with those held: the answer replaces them. */
  readonly slots: number;
  readonly slotsMin: number;
}

export type QuotaCommand = LeaseQuota | ReturnQuota | LeaseSlots;

export type QuotaEvent =
  | { readonly type: 'QuotaLeased'; readonly data: MessageInitShape<typeof tenancy.QuotaLeasedSchema> }
  | { readonly type: 'QuotaReturned'; readonly data: MessageInitShape<typeof tenancy.QuotaReturnedSchema> }
  | { readonly type: 'SlotsLeased'; readonly data: MessageInitShape<typeof tenancy.SlotsLeasedSchema> };

/** What each holder has of one window, less what it gave back. */
type Holdings = ReadonlyMap<string, number>;

export interface QuotaState {
  readonly amount: number;
  readonly limitsSeq: number;
  /** By start. What stands before `closedBeforeMs` is forgotten, and nothing is leased of it any more. */
  readonly windows: ReadonlyMap<number, Holdings>;
  readonly closedBeforeMs: number;
}

export const quotaLimits = {
  /** Windows of one aggregate that are kept; the oldest is closed when another is added. */
  windowsMax: 16,
  /** A lease takes at most this part of what is left, so that leases shrink as the limit nears. */
  leaseShare: 1 / 4,
} as const;

/** Nothing, or too little, is left of a window. */
export class QuotaExhausted extends CodedError {
  constructor(
    limitId: string,
    readonly remaining: number,
    needed: number,
  ) {
    super('TENANCY_QUOTA_EXHAUSTED', `${remaining} left of limit ${limitId} in this window, ${needed} needed`, {
      advice: 'Wait for its next window.',
    });
  }
}

const unused: QuotaState = { amount: 0, limitsSeq: 0, windows: new Map(), closedBeforeMs: Number.NEGATIVE_INFINITY };

/**
 * Who may spend how much of each window of one limit: lintel.ev.tenancy.quota.<id>. The leases of a window never come to more than the
 * limit; a lease ends with its window, and one whose holder died is lost for it.
 */
export const quota: Decider<QuotaState, QuotaCommand, QuotaEvent> = {
  context: 'tenancy',
  aggregate: 'quota',
  initial: unused,
  decide(state, command) {
    switch (command.type) {
      case 'LeaseQuota':
        return lease(state, command);
      case 'ReturnQuota': {
        const { leaseId, holder, windowStartMs, units } = command;
        const held = state.windows.get(windowStartMs)?.get(holder) ?? 0;
        if (units > held) {
          throw new CodedError('TENANCY_QUOTA_NOT_HELD', `${holder} returns ${units} of the ${held} that it holds`);
        }
        return units > 0 ? [{ type: 'QuotaReturned', data: { leaseId, holder, windowStartMs, units } }] : [];
      }
      case 'LeaseSlots':
        return leaseSlots(state, command);
    }
  },
  evolve(state, event) {
    switch (event.type) {
      case 'QuotaLeased': {
        const { holder, windowStartMs, units, amount, limitsSeq } = create(tenancy.QuotaLeasedSchema, event.data);
        if (units === 0) return state;
        const held = state.windows.get(windowStartMs)?.get(holder) ?? 0;
        return withHolding(withLimit(state, amount, limitsSeq), windowStartMs, holder, held + units);
      }
      case 'QuotaReturned': {
        const { holder, windowStartMs, units } = create(tenancy.QuotaReturnedSchema, event.data);
        const held = state.windows.get(windowStartMs)?.get(holder);
        return held === undefined ? state : withHolding(state, windowStartMs, holder, held - units);
      }
      case 'SlotsLeased': {
        const { holder, windowStartMs, slots, amount, limitsSeq } = create(tenancy.SlotsLeasedSchema, event.data);
        return withHolding(withLimit(state, amount, limitsSeq), windowStartMs, holder, slots);
      }
    }
  },
};

/** All that is leased of a window. */
export function leasedOf(state: QuotaState, windowStartMs: number): number {
  let sum = 0;
  for (const units of state.windows.get(windowStartMs)?.values() ?? []) sum += units;
  return sum;
}

const amountFor = (state: QuotaState, { amount, limitsSeq }: KnownLimit): { amount: number; limitsSeq: number } =>
  limitsSeq >= state.limitsSeq ? { amount, limitsSeq } : { amount: state.amount, limitsSeq: state.limitsSeq };

/** A share of what is free, so that others find something too; no less than what is needed now. */
const shareOf = (free: number, wanted: number, needed: number): number =>
  Math.min(free, Math.max(needed, Math.min(wanted, Math.floor(free * quotaLimits.leaseShare))));

function lease(state: QuotaState, command: LeaseQuota): readonly QuotaEvent[] {
  const { leaseId, holder, windowStartMs, units: wanted, unitsMin, tenantId, limitId } = command;
  requireOpen(state, windowStartMs);
  const limit = amountFor(state, command);
  const before = leasedOf(state, windowStartMs);
  const free = Math.max(0, limit.amount - before);
  if (free < unitsMin || (free === 0 && wanted > 0)) throw new QuotaExhausted(limitId, free, Math.max(1, unitsMin));
  const units = shareOf(free, wanted, wanted > 0 ? Math.max(1, unitsMin) : 0);
  const data = { leaseId, holder, windowStartMs, units, ...limit, tenantId, limitId, leased: before + units };
  return [{ type: 'QuotaLeased', data }];
}

function leaseSlots(state: QuotaState, command: LeaseSlots): readonly QuotaEvent[] {
  const { holder, windowStartMs, windowMs, slots: wanted, slotsMin, tenantId, limitId } = command;
  requireOpen(state, windowStartMs);
  const limit = amountFor(state, command);
  const free = Math.max(0, limit.amount - slotsOfOthers(state, holder, windowStartMs, windowMs));
  if (free < slotsMin) throw new QuotaExhausted(limitId, free, slotsMin);
  const own = Math.min(free, slotsOf(state, holder, windowStartMs - windowMs, windowStartMs));
  const already = slotsOf(state, holder, windowStartMs);
  const share = wanted <= own ? wanted : own + shareOf(free - own, wanted - own, Math.max(0, slotsMin - own));
  // Never fewer in a window that has begun to be used.
  const slots = Math.max(already, share);
  if (state.windows.get(windowStartMs)?.get(holder) === slots) return [];
  return [{ type: 'SlotsLeased', data: { holder, windowStartMs, slots, ...limit, tenantId, limitId } }];
}

/** The most that a holder has in any of these windows. */
const slotsOf = (state: QuotaState, holder: string, ...starts: readonly number[]): number =>
  Math.max(...starts.map((start) => state.windows.get(start)?.get(holder) ?? 0));

/**
 * A request goes on when its window ends: so what others had in the window before, have in this one and have taken for the next all count,
 * each holder's greatest.
 */
function slotsOfOthers(state: QuotaState, holder: string, windowStartMs: number, windowMs: number): number {
  const starts = [windowStartMs - windowMs, windowStartMs, windowStartMs + windowMs];
  const others = new Set(starts.flatMap((start) => [...(state.windows.get(start)?.keys() ?? [])]));
  others.delete(holder);
  let sum = 0;
  for (const other of others) sum += slotsOf(state, other, ...starts);
  return sum;
}

function requireOpen(state: QuotaState, windowStartMs: number): void {
  if (windowStartMs >= state.closedBeforeMs) return;
  throw new CodedError('TENANCY_QUOTA_WINDOW_CLOSED', `the window at ${windowStartMs} is closed`, {
    advice: 'Look at the clock of the gateway that asks.',
  });
}

const withLimit = (state: QuotaState, amount: number, limitsSeq: number): QuotaState =>
  limitsSeq < state.limitsSeq ? state : { ...state, amount, limitsSeq };

function withHolding(state: QuotaState, windowStartMs: number, holder: string, units: number): QuotaState {
  if (windowStartMs < state.closedBeforeMs) return state;
  const windows = new Map(state.windows);
  windows.set(windowStartMs, new Map(windows.get(windowStartMs)).set(holder, units));
  if (windows.size <= quotaLimits.windowsMax) return { ...state, windows };
  const [oldest, second] = [...windows.keys()].sort((a, b) => a - b) as [number, number];
  windows.delete(oldest);
  return { ...state, windows, closedBeforeMs: second };
}
