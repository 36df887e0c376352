import type { Column, PickContext } from './contract.ts';
import { columns } from './contract.ts';

const noteTexts = (word: string): Readonly<Record<Column, string>> =>
  Object.fromEntries(columns.map((column) => [column, `${word}:${column}`])) as Record<Column, string>;
const unknownNotes = noteTexts('unknown');
const staleNotes = noteTexts('stale');

/**
 * True when every kept candidate has a value of `column` at most `ageMsMax` old. Else false, with the note `unknown:<column>` or
 * `stale:<column>`: the caller then uses a coarser signal for all, since a value cannot be compared with a guess.
 */
export function allKnown(
  context: PickContext,
  column: Column,
  ageMsMax: number,
  /** 1 for each that is asked about. */
  keep: Uint8Array = context.keep,
): boolean {
  const { candidates, notes } = context;
  const values = candidates.values(column);
  const ages = candidates.agesMs(column);
  for (let i = 0; i < candidates.count; i++) {
    if (keep[i] === 0) continue;
    if (Number.isNaN(values[i])) {
      notes.add(unknownNotes[column]);
      return false;
    }
    // Written so that an unknown age is a stale one.
    if (!((ages[i] as number) <= ageMsMax)) {
      notes.add(staleNotes[column]);
      return false;
    }
  }
  return true;
}

/** Turns values into scores by min-max over the kept ones, least → 1 and most → 0; all equal → 1. */
export function scoreLeast(context: PickContext, out: Float64Array): void {
  const { count } = context.candidates;
  const { keep } = context;
  let least = Infinity;
  let most = -Infinity;
  for (let i = 0; i < count; i++) {
    const value = out[i] as number;
    if (keep[i] === 0) continue;
    if (value < least) least = value;
    if (value > most) most = value;
  }
  const range = most - least;
  for (let i = 0; i < count; i++) {
    const value = out[i] as number;
    if (keep[i] !== 0 && !Number.isNaN(value)) out[i] = range > 0 ? (most - value) / range : 1;
  }
}

/** The same with most → 1; a NaN keeps having no opinion. */
export function scoreMost(context: PickContext, out: Float64Array): void {
  const { count } = context.candidates;
  for (let i = 0; i < count; i++) out[i] = -(out[i] as number);
  scoreLeast(context, out);
}

/** Least of a column scores 1, most 0; by load where one is unknown or older than `ageMsMax`. */
export function scoreLeastOf(context: PickContext, column: Column, ageMsMax: number, out: Float64Array): void {
  if (allKnown(context, column, ageMsMax)) {
    const values = context.candidates.values(column);
    for (let i = 0; i < context.candidates.count; i++) out[i] = values[i] as number;
  } else {
    writeLoads(context, out);
  }
  scoreLeast(context, out);
}

const warmthMin = 0.01;

/**
 * Requests in flight as a new replica feels them: (inflight + 1) / warmth, so that a replica at half warmth with one request
 * counts like a warm one with three. An unknown warmth is that of a warm replica.
 */
export function loadOf(inflight: number, warmth: number): number {
  return warmth < 1 ? (inflight + 1) / (warmth > warmthMin ? warmth : warmthMin) : inflight + 1;
}

/** Fills `out` with loads. Without known in-flight counts: all equal, and the note says so. */
export function writeLoads(context: PickContext, out: Float64Array): void {
  const { candidates } = context;
  const { count } = candidates;
  if (!allKnown(context, 'inflight', Infinity)) {
    out.fill(1, 0, count);
    return;
  }
  const inflight = candidates.values('inflight');
  const warmth = candidates.values('warmth');
  for (let i = 0; i < count; i++) out[i] = loadOf(inflight[i] as number, warmth[i] as number);
}
