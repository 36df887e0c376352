import type {
  Candidates,
  Column,
  Decision,
  Filter,
  Params,
  Picker,
  PipelineSpec,
  PluginUse,
  RequestFeatures,
  Scorer,
} from './contract.ts';
import { columns } from './contract.ts';
import { PickState } from './pick-state.ts';
import { requireFilter, requirePicker, requireScorer } from './registry.ts';

interface Step<Plugin> {
  readonly plugin: Plugin;
  readonly params: Params;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

const roomMin = 16;

/** A strategy ready to run. Holds the buffers of its picks: one caller at a time, nothing kept between picks but room. */
export class CompiledPipeline {
  /** Columns that its plugins read, in the contract's order: what a record must hold to run it again. */
  readonly reads: readonly Column[];
  readonly #filters: readonly Step<Filter>[];
  readonly #scorers: readonly (Step<Scorer> & { readonly weight: number })[];
  readonly #picker: Step<Picker>;
  readonly #weightSum: number;
  readonly #pairs: boolean;
  readonly #state = new PickState();
  #column = new Float64Array(0);
  readonly #decision: Writable<Decision>;

  /** @throws SCHEDULING_PLUGIN_MISSING, SCHEDULING_PARAM_INVALID */
  constructor(readonly spec: PipelineSpec) {
    this.#filters = spec.filters.map((use) => step(requireFilter(use), use));
    this.#scorers = spec.scorers.map((use) => ({ ...step(requireScorer(use), use), weight: use.weight }));
    this.#picker = step(requirePicker(spec.picker), spec.picker);
    this.#pairs = this.#scorers.some(({ plugin }) => plugin.pairs);
    this.#weightSum = spec.scorers.reduce((sum, { weight }) => sum + weight, 0);
    const read = new Set([...this.#filters, ...this.#scorers, this.#picker].flatMap(({ plugin }) => plugin.reads));
    this.reads = columns.filter((column) => read.has(column));
    this.#decision = {
      count: 0,
      chosen: -1,
      partner: -1,
      filteredBy: new Uint8Array(0),
      scores: new Float64Array(0),
      totals: new Float64Array(0),
      notes: this.#state.notes.list,
    };
  }

  /** Number of scorers: the width of a row of `scores`. */
  get width(): number {
    return this.#scorers.length;
  }

  /** Pure over its arguments: the same ones give the same decision on every machine. `seed` is taken as 32 bits. */
  decide(request: RequestFeatures, candidates: Candidates, seed: number): Decision {
    const state = this.#state;
    const decision = this.#decision;
    const { count } = candidates;
    this.#makeRoom(count);
    state.request = request;
    state.candidates = candidates;
    state.seed = seed >>> 0;
    state.notes.list.length = 0;
    state.keep.fill(1, 0, count);
    decision.count = count;
    decision.chosen = decision.partner = -1;
    if (count === 0) {
      state.notes.add('no-candidates');
      return decision;
    }
    this.#filter(count);
    this.#score(count);
    let kept = 0;
    for (let i = 0; i < count; i++) kept += state.keep[i] as number;
    if (kept === 0) {
      state.notes.add('all-filtered');
      return decision;
    }
    state.rng.restart(state.seed, this.#filters.length + this.#scorers.length);
    decision.chosen = this.#picker.plugin.pick(state, this.#picker.params, decision.totals);
    if (this.#pairs && decision.chosen >= 0) decision.partner = state.partners[decision.chosen] as number;
    return decision;
  }

  #filter(count: number): void {
    const { filteredBy } = this.#decision;
    const state = this.#state;
    filteredBy.fill(0, 0, count);
    for (let index = 0; index < this.#filters.length; index++) {
      const { plugin, params } = this.#filters[index] as Step<Filter>;
      state.rng.restart(state.seed, index);
      plugin.filter(state, params);
      for (let i = 0; i < count; i++) {
        if (state.keep[i] === 0 && filteredBy[i] === 0) filteredBy[i] = index + 1;
      }
    }
  }

  #score(count: number): void {
    const { scores, totals } = this.#decision;
    const state = this.#state;
    const width = this.#scorers.length;
    for (let i = 0; i < count; i++) totals[i] = state.keep[i] === 0 ? Number.NaN : 0;
    for (let index = 0; index < width; index++) {
      const { plugin, params, weight } = this.#scorers[index] as Step<Scorer> & { weight: number };
      const column = this.#column;
      state.rng.restart(state.seed, this.#filters.length + index);
      plugin.score(state, params, column);
      for (let i = 0; i < count; i++) {
        const score = state.keep[i] === 0 ? Number.NaN : (column[i] as number);
        scores[i * width + index] = score;
        if (!Number.isNaN(score)) totals[i] = (totals[i] as number) + weight * score;
      }
    }
    if (this.#weightSum === 0 || this.#weightSum === 1) return;
    for (let i = 0; i < count; i++) totals[i] = (totals[i] as number) / this.#weightSum;
  }

  #makeRoom(count: number): void {
    if (this.#column.length >= count && this.#column.length > 0) return;
    const room = Math.max(roomMin, count + (count >> 1));
    this.#column = new Float64Array(room);
    this.#state.keep = new Uint8Array(room);
    if (this.#pairs) this.#state.partners = new Int32Array(room);
    this.#decision.filteredBy = new Uint8Array(room);
    this.#decision.scores = new Float64Array(room * this.#scorers.length);
    this.#decision.totals = new Float64Array(room);
  }
}

function step<P extends { params(given: Params): Params }>(plugin: P, use: PluginUse): Step<P> {
  return { plugin, params: plugin.params(use.params) };
}

/** @throws SCHEDULING_PLUGIN_MISSING, SCHEDULING_PARAM_INVALID */
export const compilePipeline = (spec: PipelineSpec): CompiledPipeline => new CompiledPipeline(spec);
