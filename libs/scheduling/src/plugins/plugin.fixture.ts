import type { Filter, Params, Picker, PluginUse, RequestFeatures, Scorer } from '../contract.ts';
import { PickState } from '../pick-state.ts';
import type { Row } from '../table.fixture.ts';
import { request, table } from '../table.fixture.ts';

interface Given {
  readonly rows: readonly Row[];
  readonly request?: Partial<RequestFeatures>;
  /** Candidates that a filter removed before. */
  readonly without?: readonly number[];
  readonly params?: PluginUse['params'];
  readonly seed?: number;
}

function contextOf({ rows, without = [], seed = 1, request: asked }: Given): PickState {
  const context = new PickState();
  context.request = request(asked);
  context.candidates = table(...rows);
  context.partners = new Int32Array(rows.length).fill(-1);
  context.keep = Uint8Array.from(rows, (_, index) => (without.includes(index) ? 0 : 1));
  context.seed = seed;
  context.rng.restart(seed, 0);
  return context;
}

const paramsFor = (plugin: { params(given: Params): Params }, given: Given): Params =>
  plugin.params(given.params ?? {});

/** Scores of the kept ones; null for removed ones and where the scorer has no opinion. */
export function score(scorer: Scorer, given: Given): { scores: (number | null)[]; notes: string[] } {
  const context = contextOf(given);
  const out = new Float64Array(given.rows.length);
  scorer.score(context, paramsFor(scorer, given), out);
  const scores = [...out].map((value, index) => (context.keep[index] === 0 || Number.isNaN(value) ? null : value));
  return { scores, notes: context.notes.list };
}

/** The same of a scorer that pairs, with who computes the prompt for whom. */
export function pairs(scorer: Scorer, given: Given): { scores: number[]; partners: number[]; notes: string[] } {
  const context = contextOf(given);
  const out = new Float64Array(given.rows.length);
  scorer.score(context, paramsFor(scorer, given), out);
  return { scores: [...out], partners: [...context.partners], notes: context.notes.list };
}

/** Who is left after the filter. */
export function filter(plugin: Filter, given: Given): { kept: number[]; notes: string[] } {
  const context = contextOf(given);
  plugin.filter(context, paramsFor(plugin, given));
  return { kept: [...context.keep.keys()].filter((index) => context.keep[index] === 1), notes: context.notes.list };
}

export function pick(picker: Picker, given: Given, totals: readonly number[]): number {
  return picker.pick(contextOf(given), paramsFor(picker, given), Float64Array.from(totals));
}

/** How often each was chosen over seeds 0 … picks − 1. */
export function picks(picker: Picker, count: number, given: Given, totals: readonly number[]): number[] {
  const counts = given.rows.map(() => 0);
  for (let seed = 0; seed < count; seed++) {
    const chosen = pick(picker, { ...given, seed }, totals);
    counts[chosen] = (counts[chosen] as number) + 1;
  }
  return counts;
}
