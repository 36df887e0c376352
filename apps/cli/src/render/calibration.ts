import type { CalibrationAnswer, CalibrationItem } from '#libs/domain/diag';
import type { Cell, Column } from './table.ts';
import { table } from './table.ts';
import type { Layout } from './text.ts';
import { blocks, clean, plural } from './text.ts';
import { count, digits, duration, time, unknown } from './units.ts';

const percent = (share: number | null): string =>
  share === null ? unknown : `${digits(Number((share * 100).toFixed(1)))} %`;
const points = (error: number): string => `${error < 0 ? '−' : '+'}${Math.abs(error * 100).toFixed(1)}`;

const names = { ttft: 'time to the first token', finish: 'time to the end' } as const;

/** A decile that is off by more than half of its tenth is shown as such. */
const farOff = 0.05;

function itemBlock(item: CalibrationItem, layout: Layout): string {
  const { paint } = layout;
  const known = item.deciles.reduce((sum, { answers }) => sum + answers, 0);
  const title = `${paint.bold(clean(item.model))}  ${names[item.kind]}, ${plural(item.answers, 'answer')}`;
  const off = `off by ${percent(item.offP50)} (median), nine in ten by less than ${percent(item.offP90)}`;
  if (known === 0) return `${title}\n  ${off}; too few to tell deciles before they were sent`;
  const right = (name: string): Column => ({ title: name, align: 'right' });
  const columns = ['decile', 'answers', 'share', 'error', 'predicted', 'measured'].map(right);
  const rows = item.deciles.map(({ decile, answers, share, error, predictedMs, measuredMs }): Cell[] => [
    String(decile),
    count(answers),
    percent(share),
    { text: points(error), style: Math.abs(error) > farOff ? paint.yellow : (text) => text },
    duration(predictedMs),
    duration(measuredMs),
  ]);
  const sum = `${percent(item.within)} between the 10 % and the 90 % foretold (80 % is right); largest error ${points(item.errorMax)} points; ${off}`;
  return `${title}\n${table(columns, rows, layout)}\n${paint.dim(sum)}`;
}

/** Ten deciles of what was foretold for each model and kind of time: a calibrated prediction has a tenth of the answers in each. */
export function renderCalibration(answer: CalibrationAnswer, layout: Layout): string {
  const { items, records, sinceMs, untilMs, source, note } = answer;
  const until = untilMs === null ? 'now' : time(untilMs, layout);
  const range = `${plural(records, 'record')} from ${time(sinceMs, layout)} to ${until}, read from ${source}`;
  const empty = items.length === 0 ? 'No record of this time holds a prediction that came true or not.' : '';
  return blocks(
    empty,
    ...items.map((item) => itemBlock(item, layout)),
    layout.paint.dim(range),
    note === '' ? '' : layout.paint.yellow(clean(note)),
  );
}
