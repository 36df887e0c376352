import type { EngineModel } from '#libs/engine-model';
import { blockHash, rootHash } from '#libs/engine-model';
import type { BlockHashes } from '#libs/prefix-index';
import { hashBlocks, PrefixIndex, prefixLimits } from '#libs/prefix-index';

/** Where a prompt is believed to be cached. */
export interface PrefixKnowledge {
  /** Tokens of a block of `depths`. */
  readonly blockTokens: number;
  /** Blocks of the prompt, in the unit of `depths`. */
  ask(tokens: Int32Array, depths: Float64Array, nowMs: number): number;
  /** The prompt asked for last goes there. */
  dispatched(replica: number, nowMs: number): void;
}

const bytesPerToken = 4;
const indexBlockTokens = prefixLimits.blockBytes / bytesPerToken;

/** The gateway's own index: a prompt is noted where it is sent, and what an engine evicts is not seen. Four bytes a token. */
export class ApproximateKnowledge implements PrefixKnowledge {
  readonly blockTokens = indexBlockTokens;
  readonly #index = new PrefixIndex();
  #blocks: BlockHashes = new Float64Array(0);

  constructor(
    private readonly model: string,
    private readonly replicaIds: readonly string[],
  ) {}

  ask(tokens: Int32Array, depths: Float64Array): number {
    this.#blocks = hashBlocks(this.model, new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength));
    this.#index.match(this.#blocks, this.replicaIds, depths);
    return this.#blocks.length;
  }

  dispatched(replica: number): void {
    if (this.#blocks.length > 0) this.#index.insert(this.#blocks, this.replicaIds[replica] as string);
  }
}

/** Reads the caches of the engines at the instant of the pick: what no gateway can know, as a bound to compare with. */
export class IdealKnowledge implements PrefixKnowledge {
  readonly blockTokens = indexBlockTokens;
  #chain = new Float64Array(0);

  constructor(private readonly engines: readonly EngineModel[]) {}

  ask(tokens: Int32Array, depths: Float64Array): number {
    const { blockSize, seed } = (this.engines[0] as EngineModel).options;
    const blocks = Math.floor(tokens.length / blockSize);
    if (this.#chain.length < blocks) this.#chain = new Float64Array(blocks * 2);
    let parent = rootHash(seed, undefined, undefined);
    for (let block = 0; block < blocks; block++) {
      parent = blockHash(parent, tokens, block * blockSize, (block + 1) * blockSize);
      this.#chain[block] = parent;
    }
    const chain = this.#chain.subarray(0, blocks);
    for (const [index, engine] of this.engines.entries()) {
      depths[index] = Math.floor((engine.cachedBlocks(chain) * blockSize) / indexBlockTokens);
    }
    return Math.floor(tokens.length / indexBlockTokens);
  }

  dispatched(): void {}
}
