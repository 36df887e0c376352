import { expect, test } from '@jest/globals';
import type { DecodedEvent } from '#libs/event-log';
import type { BudgetEvent, BudgetState, ReportSpend } from './budget.decider.ts';
import { budget } from './budget.decider.ts';
import type { Budgets } from './budgets.ts';
import { budgetsFromJson, budgetsToJson, evolveBudgets } from './budgets.ts';
import { epochMs, problemOf, windowEnd, windowNameOf, windowsMs, windowStart } from './limits.ts';
import { limitOf } from './limits.fixture.ts';
import { nanoText } from './money.ts';

const report = (holder: string, spent: number, more: Partial<ReportSpend> = {}): ReportSpend => ({
  type: 'ReportSpend',
  tenantId: 't',
  limitId: 'b',
  holder,
  windowStartMs: 0,
  windowMs: windowsMs.day,
  spent,
  amount: 1_000,
  limitsSeq: 1,
  projectId: '',
  keyId: '',
  endUser: '',
  model: '',
  currency: 'USD',
  soft: true,
  alertPercents: [50, 80, 100],
  ...more,
});

class Told {
  state: BudgetState = budget.initial;
  readonly events: BudgetEvent[] = [];

  give(command: ReportSpend): number[] {
    const events = budget.decide(this.state, command);
    for (const event of events) this.state = budget.evolve(this.state, event);
    this.events.push(...events);
    return events.flatMap(({ type, data }) => (type === 'BudgetReached' ? [data.percent ?? 0] : []));
  }
}

test('L58 each alert is told once, by the report that takes the total there, whoever reports', () => {
  const told = new Told();
  expect(told.give(report('g1', 499))).toEqual([]);
  expect(told.give(report('g2', 1))).toEqual([50]);
  expect(told.give(report('g2', 1))).toEqual([]);
  expect(told.give(report('g1', 400))).toEqual([]);
  expect(told.give(report('g1', 700))).toEqual([]);
  expect(told.give(report('g2', 500))).toEqual([80, 100]);
  expect(told.give(report('g1', 9_000))).toEqual([]);
  expect(told.state.windows.get(0)?.total).toBe(9_500);
  // Another window begins anew; a raised budget tells what it had not.
  expect(told.give(report('g1', 1_500, { windowStartMs: windowsMs.day, amount: 2_000, limitsSeq: 2 }))).toEqual([50]);
  // One that has not heard of it yet is told nothing that no longer holds.
  expect(told.give(report('g2', 99, { windowStartMs: windowsMs.day }))).toEqual([]);
});

test('an amount that is none is refused', () => {
  for (const spent of [-1, 0.5, Number.NaN]) expect(() => budget.decide(budget.initial, report('g', spent))).toThrow();
});

test('the fold goes through a snapshot, and keeps the newest two aggregates of a budget', () => {
  const budgets: Budgets = new Map();
  const decoded = (command: ReportSpend): DecodedEvent[] =>
    budget.decide(budget.initial, command) as unknown as DecodedEvent[];
  for (const id of ['k-z', 'k-10', 'k-11', 'other-1']) evolveBudgets(budgets, id, decoded(report('g', 600)));
  expect([...budgets.keys()]).toEqual(['k-10', 'k-11', 'other-1']);
  expect(budgetsFromJson(JSON.parse(JSON.stringify(budgetsToJson(budgets))))).toEqual(budgets);
});

test('a month is the calendar month of UTC', () => {
  const { month } = windowsMs;
  const at = (text: string): number => Date.parse(text);
  expect(windowStart(month, at('2028-02-29T23:59:59.999Z'))).toBe(at('2028-02-01T00:00:00Z'));
  expect(windowEnd(month, at('2028-02-01T00:00:00Z'))).toBe(at('2028-03-01T00:00:00Z'));
  expect(windowEnd(month, at('2026-12-01T00:00:00Z'))).toBe(at('2027-01-01T00:00:00Z'));
  expect(windowEnd(windowsMs.hour, 0)).toBe(windowsMs.hour);
  expect(windowNameOf(month)).toBe('month');
  expect(epochMs(month)).toBeGreaterThanOrEqual(month);
});

test('only cost can be budgeted, with alerts that rise', () => {
  expect(problemOf(limitOf({ alertPercents: [50, 80, 100], soft: true }))).toBeUndefined();
  expect(problemOf(limitOf({ alertPercents: [80, 50] }))).toContain('alerts');
  expect(problemOf(limitOf({ alertPercents: [0] }))).toContain('alerts');
  expect(problemOf(limitOf({ soft: true, metric: 1 }))).toContain('cost');
});

test.each([
  [0, '0.00'],
  [1, '0.000000001'],
  [1_500_000_000, '1.50'],
  [-2_000_000_001n, '-2.000000001'],
])('%p billionths are %s', (nano, text) => {
  expect(nanoText(nano)).toBe(text);
});
