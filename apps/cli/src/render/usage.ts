import type { UsageAnswer, UsageItem } from '#libs/domain/diag';
import { nanoText } from './money.ts';
import type { Cell, Column } from './table.ts';
import { table } from './table.ts';
import type { Layout } from './text.ts';
import { clean, plural } from './text.ts';
import { count, time, unknown } from './units.ts';

/** What is known of the cost: nothing is "?", not 0, where something was served without a price. */
function costText({ costs, unpriced }: UsageItem): string {
  if (costs.length === 0) return unpriced > 0 ? unknown : '0.00';
  const known = costs.map(({ currency, nano }) => `${nanoText(BigInt(nano))} ${currency}`).join(' + ');
  return unpriced > 0 ? `${known} + ${unknown}` : known;
}

export function renderUsage(answer: UsageAnswer, layout: Layout): string {
  const { by, items, sinceMs, untilMs, atSeq, note } = answer;
  const noteLine = note === undefined ? '' : `\n${layout.paint.yellow(clean(note))}`;
  const range = `from ${time(sinceMs, layout)} to ${time(untilMs, layout)}`;
  if (items.length === 0) return `Nothing was used ${range}.${noteLine}`;
  const right = (title: string): Column => ({ title, align: 'right' });
  const columns: Column[] = [
    ...by.map((title): Column => ({ title, sticky: true })),
    ...['requests', 'served', 'prompt', 'cached', 'completion', 'unpriced', 'cost'].map(right),
  ];
  const rows = items.map((item): Cell[] => [
    ...by.map((name) => (item.group[name] === '' ? '–' : (item.group[name] ?? unknown))),
    count(item.requests),
    count(item.served),
    count(item.promptTokens),
    count(item.cachedTokens),
    count(item.completionTokens),
    item.unpriced === 0 ? '0' : { text: count(item.unpriced), style: layout.paint.yellow },
    costText(item),
  ]);
  const line = `${plural(items.length, 'row')} ${range}, as of frame #${atSeq}`;
  return `${table(columns, rows, layout)}\n${layout.paint.dim(line)}${noteLine}`;
}

/** A text as one field; one that a spreadsheet would take for a formula begins with an apostrophe. */
function field(text: string): string {
  const plain = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

/** RFC 4180. A line for each currency of a group, the first with its counts, so that a column can be added up; no cost where none is known. */
export function usageCsv({ by, items }: UsageAnswer): string {
  const names = ['requests', 'served', 'prompt_tokens', 'cached_tokens', 'completion_tokens', 'unpriced'];
  const lines = [[...by.map((name) => name.replaceAll('-', '_')), ...names, 'cost', 'currency'].join(',')];
  for (const item of items) {
    const group = by.map((name) => field(item.group[name] ?? ''));
    const { requests, served, promptTokens, cachedTokens, completionTokens, unpriced } = item;
    const counts = [requests, served, promptTokens, cachedTokens, completionTokens, unpriced];
    const costs = item.costs.map(({ currency, nano }) => [nanoText(BigInt(nano)), field(currency)]);
    if (costs.length === 0) costs.push([unpriced > 0 ? '' : '0.00', '']);
    for (const [index, cost] of costs.entries()) {
      lines.push([...group, ...(index === 0 ? counts : counts.map(() => 0)), ...cost].join(','));
    }
  }
  return `${lines.join('\r\n')}\r\n`;
}
