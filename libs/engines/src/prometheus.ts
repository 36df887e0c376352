import { engineLimits } from './limits.ts';

export interface Sample {
  readonly value: number;
  /** Text between the braces; empty where there are none. */
  readonly labels: string;
}

const newline = 10;
const brace = 123;

/**
 * Samples of one family out of a Prometheus text, looked for by name instead of line by line: a page of 80 kB holds five families
 * that matter. Values that are no finite number are left out: unknown is not zero. At most `samplesPerFamilyMax`.
 */
export function samplesOf(text: string, family: string): Sample[] {
  const samples: Sample[] = [];
  let at = text.indexOf(family);
  while (at >= 0 && samples.length < engineLimits.samplesPerFamilyMax) {
    const after = at + family.length;
    if (at === 0 || text.charCodeAt(at - 1) === newline) {
      const sample = sampleAt(text, after);
      if (sample !== undefined) samples.push(sample);
    }
    at = text.indexOf(family, after);
  }
  return samples;
}

function sampleAt(text: string, after: number): Sample | undefined {
  let end = text.indexOf('\n', after);
  if (end < 0) end = text.length;
  if (end - after > engineLimits.labelsBytesMax) return undefined;
  let labels = '';
  let valueAt = after;
  if (text.charCodeAt(after) === brace) {
    const close = closingBrace(text, after + 1, end);
    if (close < 0) return undefined;
    labels = text.slice(after + 1, close);
    valueAt = close + 1;
  } else if (!isBlank(text.charCodeAt(after))) {
    // The name goes on: another family.
    return undefined;
  }
  const [word = ''] = text.slice(valueAt, end).trim().split(/[ \t]/, 1);
  const value = word.length <= numberLengthMax && decimal.test(word) ? Number(word) : Number.NaN;
  return Number.isFinite(value) ? { value, labels } : undefined;
}

const numberLengthMax = 64;
const decimal = /^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$/;

const isBlank = (code: number): boolean => code === 32 || code === 9;

/** A "}" inside a quoted value does not close. */
function closingBrace(text: string, from: number, end: number): number {
  let quoted = false;
  for (let i = from; i < end; i++) {
    const c = text[i];
    if (quoted && c === '\\') i++;
    else if (c === '"') quoted = !quoted;
    else if (c === '}' && !quoted) return i;
  }
  return -1;
}

/** One label of a sample, unescaped; undefined where it is not there. One walk over the text, whatever an engine put into it. */
export function labelOf(labels: string, name: string): string | undefined {
  let at = 0;
  while (at < labels.length) {
    const open = labels.indexOf('"', at);
    if (open < 0) return undefined;
    const key = labels.slice(at, open).replaceAll(/[\s,=]/g, '');
    let close = open + 1;
    while (close < labels.length && labels[close] !== '"') close += labels[close] === '\\' ? 2 : 1;
    if (close >= labels.length) return undefined;
    if (key === name) return unescaped(labels.slice(open + 1, close));
    at = close + 1;
  }
  return undefined;
}

const unescaped = (text: string): string => text.replaceAll(/\\(.)/gs, (_, c: string) => (c === 'n' ? '\n' : c));
