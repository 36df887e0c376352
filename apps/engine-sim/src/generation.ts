import type { FinishReason, SequenceView } from '#libs/engine-model';
import { fnv1a32, mix32 } from '#libs/kernel';
import type { LiveEngine, Ticket } from './live-engine.ts';
import type { EngineSimSettings } from './options.ts';
import { encode, logprobOf, pieceOf, spokenToken, tokensHash } from './tokenizer.ts';

/** Lengths of answers nobody bounded: between these, by the prompt. */
const naturalTokensMin = 24;
const naturalTokensSpread = 200;

export interface TopLogprob {
  readonly token: number;
  readonly logprob: number;
}

export interface Delta {
  readonly text: string;
  readonly tokens: readonly number[];
}

export interface GenerationRequest {
  readonly prompt: readonly number[];
  readonly maxTokens: number | undefined;
  readonly stop: readonly string[];
  readonly ignoreEos: boolean;
  readonly minTokens: number;
  readonly seed: number;
  readonly adapter: string | undefined;
  readonly cacheSalt: string | undefined;
  /** Say exactly one of these texts, or undefined. */
  readonly choices: readonly string[] | undefined;
  readonly remoteTokens: number | undefined;
  readonly holdBlocks: boolean;
}

export interface Ending {
  readonly reason: FinishReason;
  readonly stopReason: string | null;
}

export interface GenerationSink {
  /** The last call carries the ending; its text may be empty. */
  delta(delta: Delta, ending: Ending | undefined, generation: Generation): void;
}

/** One choice: tokens from the model turned into text, cut at stop strings, never showing half of one. */
export class Generation {
  text = '';
  readonly tokens: number[] = [];
  readonly prompt: readonly number[];
  ending: Ending | undefined;
  readonly #stop: readonly string[];
  readonly #holdBack: number;
  readonly #sink: GenerationSink;
  #shown = 0;
  #pending: number[] = [];
  #stopReason: string | null = null;
  #ticket: Ticket | undefined;

  constructor(engine: LiveEngine, settings: EngineSimSettings, request: GenerationRequest, sink: GenerationSink) {
    this.prompt = request.prompt;
    this.#stop = request.stop;
    this.#holdBack = request.stop.reduce((max, text) => Math.max(max, text.length - 1), 0);
    this.#sink = sink;
    // Not of the engine's seed: replicas of one model answer alike.
    const seed = tokensHash(request.prompt, mix32(request.seed) ^ fnv1a32(request.adapter ?? settings.models[0] ?? ''));
    const fixed =
      request.choices === undefined ? undefined : encode(request.choices[seed % request.choices.length] ?? '');
    const room = Math.max(1, settings.maxModelLen - request.prompt.length);
    const natural = Math.max(request.minTokens, fixed?.length ?? naturalTokensMin + (seed % naturalTokensSpread));
    const bound = Math.min(request.maxTokens ?? room, room);
    const ends = !request.ignoreEos && natural <= bound;
    this.#ticket = engine.submit(
      {
        prompt: request.prompt,
        outputTokens: ends ? natural : bound,
        finish: ends ? 'stop' : 'length',
        token: (index) => fixed?.[index] ?? spokenToken(seed, index),
        adapter: request.adapter,
        cacheSalt: request.cacheSalt,
        remoteTokens: request.remoteTokens,
        holdBlocks: request.holdBlocks,
      },
      {
        token: (token, _view, last) => this.#token(token, last),
        finished: (reason) => this.#finished(reason),
      },
    );
  }

  get view(): SequenceView {
    return this.#ticket!.view;
  }

  abort(): void {
    if (this.ending === undefined) this.#ticket?.abort();
  }

  #token(token: number, last: boolean): boolean {
    this.tokens.push(token);
    this.#pending.push(token);
    const before = this.text.length;
    this.text += pieceOf(token);
    if (this.#stop.length > 0 && this.#cutAtStop(Math.max(0, before - this.#holdBack))) return true;
    if (last) return false; // its text goes out with the ending
    const until = this.text.length - this.#holdBack;
    if (until <= this.#shown) return false;
    this.#show(until, undefined);
    return false;
  }

  #cutAtStop(from: number): boolean {
    let at = -1;
    for (const stop of this.#stop) {
      const found = this.text.indexOf(stop, from);
      if (found >= 0 && (at < 0 || found < at)) {
        at = found;
        this.#stopReason = stop;
      }
    }
    if (at >= 0) this.text = this.text.slice(0, at);
    return at >= 0;
  }

  #finished(reason: FinishReason): void {
    this.ending = { reason, stopReason: this.#stopReason };
    this.#show(this.text.length, this.ending);
  }

  #show(until: number, ending: Ending | undefined): void {
    const text = this.text.slice(this.#shown, until);
    this.#shown = Math.max(this.#shown, until);
    const tokens = this.#pending;
    this.#pending = [];
    this.#sink.delta({ text, tokens }, ending, this);
  }
}

/** Log probabilities of a token and of the next likely ones; the chosen one leads. */
export function topLogprobs(token: number, count: number): TopLogprob[] {
  return Array.from({ length: Math.max(1, count) }, (_, rank) => {
    const other = rank === 0 ? token : spokenToken(token, rank);
    return { token: other, logprob: logprobOf(token, 0) - rank * 0.7 };
  });
}
