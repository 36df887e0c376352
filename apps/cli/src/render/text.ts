/** A style of a terminal: identity where colour is off. */
export type Style = (text: string) => string;

export interface Paint {
  readonly bold: Style;
  readonly dim: Style;
  readonly red: Style;
  readonly green: Style;
  readonly yellow: Style;
  readonly cyan: Style;
}

const same: Style = (text) => text;
const sgr =
  (on: number, off: number): Style =>
  (text) =>
    text === '' ? '' : `\u001B[${on}m${text}\u001B[${off}m`;

export const plain: Paint = { bold: same, dim: same, red: same, green: same, yellow: same, cyan: same };
export const ansi: Paint = {
  bold: sgr(1, 22),
  dim: sgr(2, 22),
  red: sgr(31, 39),
  green: sgr(32, 39),
  yellow: sgr(33, 39),
  cyan: sgr(36, 39),
};

/** How an answer is laid out. Everything in `render/` is pure: these are all that it reads beside the answer. */
export interface Layout {
  readonly paint: Paint;
  /** Columns of the terminal; undefined where there is none: lines are then as long as they are. */
  readonly width: number | undefined;
  /** Minutes east of UTC at a moment: what makes a time local. */
  readonly offsetMinutes: (atMs: number) => number;
}

export const systemOffsetMinutes = (atMs: number): number => -new Date(atMs).getTimezoneOffset();

/** Plain, in UTC, as wide as it comes. */
export const plainLayout: Layout = { paint: plain, width: undefined, offsetMinutes: () => 0 };

/**
 * Text that came from elsewhere (an engine's error, a client's user name), made safe to print: no control character reaches the
 * terminal, and a line stays one line.
 */
export function clean(text: string): string {
  return text.replace(
    // eslint-disable-next-line no-control-regex
    /[\u0000-\u001F\u007F-\u009F\u2028\u2029\u202A-\u202E\u2066-\u2069]/g,
    (char) =>
      char === '\n'
        ? '\\n'
        : char === '\t'
          ? '\\t'
          : `\\u${char.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}`,
  );
}

/** `text` in at most `lengthMax` characters, the cut marked. */
export function short(text: string, lengthMax: number): string {
  return text.length <= lengthMax ? text : `${text.slice(0, lengthMax - 1)}…`;
}

export const plural = (count: number, one: string, many = `${one}s`): string =>
  `${integer(count)} ${count === 1 ? one : many}`;

/** Blocks of lines, one empty line between them; empty ones left out. */
export function blocks(...parts: readonly string[]): string {
  return parts
    .map((part) => part.replace(/\n+$/, ''))
    .filter((part) => part !== '')
    .join('\n\n');
}

/** `label   text` lines with the labels in one column; entries without text are left out. */
export function facts(entries: readonly (readonly [string, string])[], layout: Layout): string {
  const shown = entries.filter(([, text]) => text !== '');
  const labelWidth = Math.max(11, ...shown.map(([label]) => label.length + 2));
  return shown
    .map(([label, text]) => {
      const [first = '', ...rest] = text.split('\n');
      const indent = ' '.repeat(labelWidth);
      return [`${layout.paint.dim(label.padEnd(labelWidth))}${first}`, ...rest.map((line) => `${indent}${line}`)].join(
        '\n',
      );
    })
    .join('\n');
}

export const integer = (value: number): string =>
  Math.abs(value) < 10_000 ? String(value) : value.toString().replace(/\B(?=(?:\d{3})+(?!\d))/g, ',');
