import type { Rng } from '#libs/kernel';
import { mix32 } from '#libs/kernel';
import type { Candidates, Notes, PickContext, RequestFeatures } from './contract.ts';

const golden = 0x9e3779b9;

/** splitmix32: restarted for each plugin in two integer operations, so that a pick allocates no generator. */
export class PickRng implements Rng {
  #state = 0;

  restart(seed: number, stream: number): void {
    this.#state = mix32(seed ^ Math.imul(stream + 1, golden));
  }

  uint32(): number {
    this.#state = (this.#state + golden) | 0;
    return mix32(this.#state);
  }

  next(): number {
    return this.uint32() / 4294967296;
  }
}

/** Notes without duplicates; a pick has few. */
export class NoteList implements Notes {
  readonly list: string[] = [];

  add(note: string): void {
    if (!this.list.includes(note)) this.list.push(note);
  }
}

const nothing: Candidates = {
  count: 0,
  ids: [],
  values: () => new Float64Array(),
  agesMs: () => new Float32Array(),
};

const noRequest: RequestFeatures = {
  bodyBytes: 0,
  promptTokens: 0,
  promptTokensExact: false,
  maxTokens: 0,
  sessionHash: 0,
  prefixBlocks: 0,
  sloTtftMs: 0,
  sloTpotMs: 0,
};

/** The one context of a pipeline, set anew for each pick. */
export class PickState implements PickContext {
  request: RequestFeatures = noRequest;
  candidates: Candidates = nothing;
  keep = new Uint8Array(0);
  partners = new Int32Array(0);
  notes = new NoteList();
  seed = 0;
  readonly rng = new PickRng();
}
