import type { MessageInitShape } from '@bufbuild/protobuf';
import { create } from '@bufbuild/protobuf';
import { tenancy } from '#libs/contracts';
import type { Decider } from '#libs/event-log';
import { CodedError } from '#libs/kernel';

type Report = Omit<MessageInitShape<typeof tenancy.SpendReportedSchema>, '$typeName' | 'total'>;

export interface ReportSpend extends Required<Omit<Report, '$unknown'>> {
  readonly type: 'ReportSpend';
  readonly alertPercents: readonly number[];
}

export type BudgetEvent =
  | { readonly type: 'SpendReported'; readonly data: MessageInitShape<typeof tenancy.SpendReportedSchema> }
  | { readonly type: 'BudgetReached'; readonly data: MessageInitShape<typeof tenancy.BudgetReachedSchema> };

export interface BudgetWindow {
  /** By holder, all that it has said. */
  readonly spent: ReadonlyMap<string, number>;
  readonly total: number;
  /** Percents, in the order in which they were reached. */
  readonly reached: readonly number[];
  /** The report that came last, which says whose budget it is. */
  readonly last: tenancy.SpendReported | undefined;
}

export interface BudgetState {
  /** By start; the oldest is forgotten when another is added. */
  readonly windows: ReadonlyMap<number, BudgetWindow>;
  readonly amount: number;
  readonly limitsSeq: number;
}

export const budgetLimits = {
  windowsMax: 16,
  /** Starts of gateways that have spent of one window. */
  holdersMax: 10_000,
} as const;

const nothing: BudgetWindow = { spent: new Map(), total: 0, reached: [], last: undefined };

/**
 * What was spent of each window of one budget, as the gateways report it, and which of its alerts it has reached: each once, over any number
 * of gateways, since reports of one budget come one after the other. lintel.ev.tenancy.budget.<id>.
 */
export const budget: Decider<BudgetState, ReportSpend, BudgetEvent> = {
  context: 'tenancy',
  aggregate: 'budget',
  initial: { windows: new Map(), amount: 0, limitsSeq: 0 },
  decide(state, command) {
    const { type: _, alertPercents, ...report } = command;
    const { tenantId, limitId, holder, windowStartMs, spent } = report;
    if (!Number.isSafeInteger(spent) || spent < 0) {
      throw new CodedError('TENANCY_SPEND_INVALID', `${holder} reports ${spent}, which is no amount`);
    }
    const { spent: known, total: before, reached } = state.windows.get(windowStartMs) ?? nothing;
    const said = known.get(holder);
    if (said === undefined && known.size >= budgetLimits.holdersMax) {
      throw new CodedError('TENANCY_BUDGET_HOLDERS_TOO_MANY', `${known.size} gateways have spent of ${limitId}`);
    }
    if (spent <= (said ?? 0)) return [];
    const total = before + spent - (said ?? 0);
    const isNewest = report.limitsSeq >= state.limitsSeq;
    const { amount, limitsSeq } = isNewest ? report : state;
    const events: BudgetEvent[] = [{ type: 'SpendReported', data: { ...report, total, amount, limitsSeq } }];
    for (const percent of alertPercents) {
      if (reached.includes(percent) || !isReached(total, amount, percent)) continue;
      events.push({ type: 'BudgetReached', data: { tenantId, limitId, windowStartMs, percent, total, amount } });
    }
    return events;
  },
  evolve(state, event) {
    if (event.type === 'SpendReported') {
      const last = create(tenancy.SpendReportedSchema, event.data);
      const { windowStartMs, holder, spent, total, amount, limitsSeq } = last;
      const window = state.windows.get(windowStartMs) ?? nothing;
      const next = { ...window, spent: new Map(window.spent).set(holder, spent), total, last };
      return { windows: withWindow(state.windows, windowStartMs, next), amount, limitsSeq };
    }
    const { windowStartMs, percent } = create(tenancy.BudgetReachedSchema, event.data);
    const window = state.windows.get(windowStartMs) ?? nothing;
    const next = { ...window, reached: [...window.reached, percent] };
    return { ...state, windows: withWindow(state.windows, windowStartMs, next) };
  },
};

/** Without rounding. */
const isReached = (total: number, amount: number, percent: number): boolean =>
  BigInt(total) * 100n >= BigInt(amount) * BigInt(percent);

function withWindow(
  before: ReadonlyMap<number, BudgetWindow>,
  startMs: number,
  window: BudgetWindow,
): ReadonlyMap<number, BudgetWindow> {
  const windows = new Map(before).set(startMs, window);
  if (windows.size > budgetLimits.windowsMax) windows.delete(Math.min(...windows.keys()));
  return windows;
}
