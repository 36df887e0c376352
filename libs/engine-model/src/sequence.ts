import { blockHash, rootHash } from './hash-chain.ts';
import type { SequenceRequest, SequenceView } from './types.ts';

export type SequenceState = 'waiting' | 'running' | 'done';

/** One sequence with its tokens, blocks and chain of hashes. */
export class Sequence implements SequenceView {
  state: SequenceState = 'waiting';
  /** Prompt and, as they come, outputs; `length` of them are there. */
  readonly tokens: Int32Array;
  readonly promptLength: number;
  length: number;
  /** Tokens whose KV is there. */
  computed = 0;
  /** Tokens of the step in progress. */
  scheduled = 0;
  outputs = 0;
  readonly blockIds: number[] = [];
  /** Hashes of full blocks, as far as they were needed. */
  readonly #hashes: number[] = [];
  readonly #root: number;
  /** Blocks from 0 that carry their name in the pool. */
  named = 0;
  scheduledMs = NaN;
  firstTokenMs = NaN;
  finishedMs = NaN;
  cachedTokens = 0;
  externalTokens = 0;
  preemptions = 0;
  admitted = false;
  deferred = false;

  constructor(
    readonly id: number,
    readonly request: SequenceRequest,
    readonly arrivedMs: number,
    /** Not to be admitted before: a transfer from another engine is under way. */
    readonly transferredMs: number,
    readonly blockSize: number,
    seed: number,
  ) {
    this.promptLength = request.prompt.length;
    this.length = this.promptLength;
    this.tokens = new Int32Array(this.promptLength + request.outputTokens);
    this.tokens.set(request.prompt);
    this.#root = rootHash(seed, request.adapter, request.cacheSalt);
  }

  get left(): number {
    return this.length - this.computed;
  }

  /** Hash of full block `index`; its tokens must be there. */
  hash(index: number): number {
    const { blockSize } = this;
    for (let at = this.#hashes.length; at <= index; at++) {
      const parent = at === 0 ? this.#root : this.#hashes[at - 1]!;
      this.#hashes.push(blockHash(parent, this.tokens, at * blockSize, (at + 1) * blockSize));
    }
    return this.#hashes[index]!;
  }
}
