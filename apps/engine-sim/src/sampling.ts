import { overloaded } from './errors.ts';
import { type Delta, type Ending, Generation, type GenerationRequest } from './generation.ts';
import type { Exchange } from './http.ts';
import type { Handover } from './kv-transfer.ts';
import { rankFor } from './ranks.ts';
import type { Chosen, Sim } from './sim.ts';
import type { Body } from './validate.ts';

export interface Sampling {
  readonly n: number;
  readonly request: Omit<GenerationRequest, 'prompt' | 'seed'>;
  readonly seed: number;
}

const numberOr = (value: unknown, other: number): number => (typeof value === 'number' ? value : other);

function stops(value: unknown): string[] {
  const list = Array.isArray(value) ? value : [value];
  return list.filter((each): each is string => typeof each === 'string' && each !== '');
}

/** What the answer depends on. Without a seed, greedy sampling always says the same and other sampling draws. */
export function samplingOf(
  sim: Sim,
  body: Body,
  maxTokens: number | undefined,
  chosen: Chosen,
  handover: Handover,
): Sampling {
  const outputs = body['structured_outputs'];
  const choices = (outputs as { choice?: unknown } | undefined | null)?.choice;
  const greedy = numberOr(body['temperature'], 1) === 0;
  return {
    n: numberOr(body['n'], 1),
    seed: numberOr(body['seed'], greedy ? 0 : sim.rng.uint32()),
    request: {
      maxTokens,
      stop: stops(body['stop'] ?? body['stop_sequences']),
      ignoreEos: body['ignore_eos'] === true,
      minTokens: numberOr(body['min_tokens'], 0),
      adapter: chosen.adapter?.name,
      cacheSalt: typeof body['cache_salt'] === 'string' ? body['cache_salt'] : undefined,
      choices: Array.isArray(choices) ? choices.map(String) : undefined,
      remoteTokens: handover.remoteTokens,
      holdBlocks: handover.hold,
    },
  };
}

export interface Listener {
  delta(index: number, delta: Delta, ending: Ending | undefined, generation: Generation): void;
  /** After the ending of the last one. */
  done(generations: readonly Generation[]): void;
}

/** Starts `n` generations of each prompt; they end with the client. */
export function generate(
  sim: Sim,
  exchange: Exchange,
  prompts: readonly (readonly number[])[],
  sampling: Sampling,
  listener: Listener,
): void {
  const { settings } = sim;
  const engine = rankFor(sim.ranks, exchange.header('x-data-parallel-rank'));
  if (engine.busy) {
    sim.engine.metrics.rejections++;
    throw overloaded();
  }
  const generations: Generation[] = [];
  let open = prompts.length * sampling.n;
  const { maxTokens } = sampling.request;
  for (const prompt of prompts) {
    engine.metrics.request(sampling.n, maxTokens ?? settings.maxModelLen - prompt.length);
    for (let choice = 0; choice < sampling.n; choice++) {
      const index = generations.length;
      const request = { ...sampling.request, prompt, seed: sampling.seed + choice };
      generations.push(
        new Generation(engine, settings, request, {
          delta(delta, ending, generation) {
            listener.delta(index, delta, ending, generation);
            if (ending !== undefined && --open === 0) listener.done(generations);
          },
        }),
      );
    }
  }
  exchange.onGone(() => {
    for (const generation of generations) generation.abort();
  });
}

export interface Usage {
  readonly prompt: number;
  readonly completion: number;
  readonly cached: number;
  /** Full blocks of the prompt that were not there before, in tokens. */
  readonly created: number;
}

export function usageOf(sim: Sim, generations: readonly Generation[], n: number): Usage {
  const { blockSize } = sim.settings;
  let prompt = 0;
  let completion = 0;
  for (const [index, generation] of generations.entries()) {
    if (index % n === 0) prompt += generation.prompt.length;
    completion += generation.tokens.length;
  }
  const first = generations[0]!;
  const cached = first.view.cachedTokens;
  const full = Math.floor(first.prompt.length / blockSize) * blockSize;
  return { prompt, completion, cached, created: Math.max(0, full - cached) };
}
