import { canonicalJson } from './canonical.ts';
import type { PipelineSpec } from './contract.ts';
import { CompiledPipeline } from './pipeline.ts';

const pipelinesCachedMax = 256;

/** Compiled pipelines by their canonical JSON, the least recently used forgotten first. */
export class Scheduler {
  readonly #byJson = new Map<string, CompiledPipeline>();
  readonly #bySpec = new WeakMap<PipelineSpec, CompiledPipeline>();

  /** @throws SCHEDULING_PLUGIN_MISSING, SCHEDULING_PARAM_INVALID */
  compiled(spec: PipelineSpec): CompiledPipeline {
    const known = this.#bySpec.get(spec);
    if (known !== undefined) return known;
    const json = canonicalJson(spec);
    const compiled = this.#byJson.get(json) ?? new CompiledPipeline(spec);
    this.#byJson.delete(json);
    this.#byJson.set(json, compiled);
    if (this.#byJson.size > pipelinesCachedMax) this.#byJson.delete(this.#byJson.keys().next().value as string);
    this.#bySpec.set(spec, compiled);
    return compiled;
  }
}
