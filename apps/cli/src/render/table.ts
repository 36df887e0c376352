import type { Layout, Style } from './text.ts';
import { clean } from './text.ts';

export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
  /** Stands again at the left of each block when the table is wider than the terminal. */
  readonly sticky?: boolean;
  /** Never parted from the column before it. */
  readonly joined?: boolean;
}

/** A text as it came (it is made safe here), or with a style that is put on after the padding. */
export type Cell = string | { readonly text: string; readonly style: Style };

const gap = '  ';
const textOf = (cell: Cell): string => clean(typeof cell === 'string' ? cell : cell.text);

function line(cells: readonly Cell[], columns: readonly Column[], widths: readonly number[], indent: string): string {
  const parts = cells.map((cell, index) => {
    const text = textOf(cell);
    const width = widths[index] as number;
    const last = index === cells.length - 1;
    const padded = columns[index]?.align === 'right' ? text.padStart(width) : last ? text : text.padEnd(width);
    return typeof cell === 'string' ? padded : cell.style(padded);
  });
  return `${indent}${parts.join(gap)}`.trimEnd();
}

/** Columns that must not be parted: each with those that are joined to it. */
function unitsOf(columns: readonly Column[]): number[][] {
  const units: number[][] = [];
  for (const [index, { sticky, joined }] of columns.entries()) {
    if (sticky === true) continue;
    const last = units.at(-1);
    if (joined === true && last !== undefined) last.push(index);
    else units.push([index]);
  }
  return units;
}

/** Indexes of the columns of each block, so that no line is wider than the terminal as long as that can be. */
function blocksOf(columns: readonly Column[], widths: readonly number[], widthMax: number): number[][] {
  const sticky = columns.flatMap(({ sticky: stays }, index) => (stays === true ? [index] : []));
  const widthOf = (indexes: readonly number[]): number =>
    indexes.reduce((sum, index) => sum + (widths[index] as number) + gap.length, -gap.length);
  const all = columns.map((_, index) => index);
  if (widthOf(all) <= widthMax) return [all];
  const found: number[][] = [];
  let current = [...sticky];
  for (const unit of unitsOf(columns)) {
    if (current.length > sticky.length && widthOf([...current, ...unit]) > widthMax) {
      found.push(current);
      current = [...sticky];
    }
    current.push(...unit);
  }
  return [...found, current];
}

/** Aligned columns under their titles. Too wide for the terminal, it goes on in further blocks with the sticky columns again. */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
  { paint, width }: Layout,
  indent = '',
): string {
  const widths = columns.map(({ title }, index) =>
    Math.max(title.length, ...rows.map((row) => textOf(row[index] ?? '').length)),
  );
  const parts = blocksOf(columns, widths, (width ?? Number.POSITIVE_INFINITY) - indent.length);
  return parts
    .map((indexes) => {
      const pick = <T>(list: readonly T[]): T[] => indexes.map((index) => list[index] as T);
      const [chosen, chosenWidths] = [pick(columns), pick(widths)];
      const head = line(
        chosen.map(({ title }) => ({ text: title, style: paint.dim })),
        chosen,
        chosenWidths,
        indent,
      );
      return [head, ...rows.map((row) => line(pick(row), chosen, chosenWidths, indent))].join('\n');
    })
    .join('\n\n');
}
