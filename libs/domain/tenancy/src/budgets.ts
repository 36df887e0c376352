import { fromJson, toJson } from '@bufbuild/protobuf';
import { tenancy } from '#libs/contracts';
import type { DecodedEvent } from '#libs/event-log';
import type { BudgetEvent, BudgetState, BudgetWindow } from './budget.decider.ts';
import { budget } from './budget.decider.ts';

/** Aggregates of one budget that are kept: that of now, and the one before. */
const epochsKept = 2;

/** By the id of the aggregate. */
export type Budgets = Map<string, BudgetState>;

/** Folds the events of one commit of one budget in place. */
export function evolveBudgets(budgets: Budgets, id: string, events: readonly DecodedEvent[]): void {
  let state = budgets.get(id) ?? budget.initial;
  for (const event of events) state = budget.evolve(state, event as unknown as BudgetEvent);
  const isNew = !budgets.has(id);
  budgets.set(id, state);
  if (!isNew) return;
  const key = id.slice(0, id.lastIndexOf('-') + 1);
  const epochs = [...budgets.keys()].filter((one) => one.startsWith(key) && !one.slice(key.length).includes('-'));
  const epochOf = (one: string): number => Number.parseInt(one.slice(key.length), 36);
  epochs.sort((a, b) => epochOf(a) - epochOf(b));
  for (const old of epochs.slice(0, -epochsKept)) budgets.delete(old);
}

export const budgetsToJson = (budgets: Budgets): unknown =>
  [...budgets].map(([id, { windows, amount, limitsSeq }]) => ({
    id,
    amount,
    limitsSeq,
    windows: [...windows].map(([startMs, { spent, total, reached, last }]) => ({
      startMs,
      total,
      reached,
      spent: [...spent],
      last: last === undefined ? null : toJson(tenancy.SpendReportedSchema, last),
    })),
  }));

interface BudgetJson {
  id: string;
  amount: number;
  limitsSeq: number;
  windows: { startMs: number; spent: [string, number][]; total: number; reached: number[]; last: never }[];
}

/** @throws where the JSON is not what budgetsToJson made */
export function budgetsFromJson(json: unknown): Budgets {
  return new Map(
    (json as BudgetJson[]).map(({ id, amount, limitsSeq, windows }) => [
      id,
      {
        amount,
        limitsSeq,
        windows: new Map(
          windows.map(({ startMs, spent, total, reached, last }): [number, BudgetWindow] => [
            startMs,
            {
              total,
              reached,
              spent: new Map(spent),
              last: last === null ? undefined : fromJson(tenancy.SpendReportedSchema, last),
            },
          ]),
        ),
      },
    ]),
  );
}
