import { chainBlock, chainRoot } from '#libs/prefix-index';
import { DecayedCounts } from './decayed-counts.ts';
import type { WarmingLimits } from './limits.ts';
import { warmingLimits } from './limits.ts';

/** Whose KV a prompt's is: with the tokens all that an engine tells blocks apart by. */
export interface PrefixIdentity {
  /** The base model. */
  readonly model: string;
  /** '' where it is the base model itself. */
  readonly adapter: string;
  /** '' is none. */
  readonly cacheSalt: string;
}

/** What many requests began with, not long ago. */
export interface HotPrefix extends PrefixIdentity {
  /** Who asked for it last, of those that allow it to be kept. */
  readonly tenantId: string;
  readonly tokens: Uint32Array;
  /** Requests that began with all of it, each counting half after `halfLifeMs`: at least. */
  readonly asks: number;
}

interface Kept extends PrefixIdentity {
  tenantId: string;
  tokens: Uint32Array;
  /** By step: the hash of all tokens up to its end. */
  chain: Float64Array;
}

/**
 * Which prefixes requests share, and the tokens of the hottest. Requests come with their tokens; only the counts see all of them, and
 * only what is hot is copied.
 */
export class HotPrefixes {
  readonly #limits: WarmingLimits;
  readonly #counts: DecayedCounts;
  readonly #chain: Float64Array;
  #kept: Kept[] = [];

  constructor(limits: WarmingLimits = warmingLimits) {
    this.#limits = limits;
    this.#counts = new DecayedCounts(limits.countedMax, limits.halfLifeMs);
    this.#chain = new Float64Array(Math.floor(limits.prefixTokensMax / limits.stepTokens));
  }

  /** Prefixes whose tokens are kept. */
  get size(): number {
    return this.#kept.length;
  }

  get keptTokens(): number {
    return this.#kept.reduce((sum, { tokens }) => sum + tokens.length, 0);
  }

  /** A request of a tenant that allows it. */
  note(identity: PrefixIdentity, tenantId: string, tokens: ArrayLike<number>, nowMs: number): void {
    const { stepTokens, newStepsMax, asksMin } = this.#limits;
    const chain = this.#chain;
    const steps = Math.min(chain.length, Math.floor(tokens.length / stepTokens));
    let hash = chainRoot(identity.model, identity.adapter);
    let hot = 0;
    let fresh = 0;
    for (let step = 0; step < steps; step++) {
      const extra = step === 0 && identity.cacheSalt !== '' ? [identity.cacheSalt] : null;
      hash = chainBlock(hash, tokens, step * stepTokens, (step + 1) * stepTokens, extra);
      if (!this.#counts.has(hash) && ++fresh > newStepsMax) break;
      chain[step] = hash;
      this.#counts.add(hash, nowMs);
      if (this.#counts.sure(hash, nowMs) >= asksMin) hot = step + 1;
    }
    if (hot > 0) this.#keep(identity, tenantId, tokens, hot, nowMs);
  }

  /** Of a model and its adapters, those worth most first: by tokens that they save. */
  hottest(model: string, nowMs: number): HotPrefix[] {
    this.#cool(nowMs);
    return this.#kept
      .filter((kept) => kept.model === model)
      .map((kept) => ({ kept, worth: this.#worth(kept, nowMs) }))
      .sort((a, b) => b.worth - a.worth)
      .map(({ kept: { adapter, cacheSalt, tenantId, tokens, chain } }) => {
        const asks = this.#counts.sure(chain.at(-1) as number, nowMs);
        return { model, adapter, cacheSalt, tenantId, tokens, asks };
      });
  }

  /** Base models that have some. */
  models(nowMs: number): string[] {
    this.#cool(nowMs);
    return [...new Set(this.#kept.map(({ model }) => model))].sort();
  }

  /** What tenants allow no more is not kept. */
  keepOf(allows: (tenantId: string) => boolean): void {
    this.#kept = this.#kept.filter(({ tenantId }) => allows(tenantId));
  }

  clear(): void {
    this.#kept = [];
    this.#counts.clear();
  }

  #keep(identity: PrefixIdentity, tenantId: string, tokens: ArrayLike<number>, steps: number, nowMs: number): void {
    const last = this.#chain[steps - 1];
    for (const kept of this.#kept) {
      // Whoever computes the longer one computes this one, too.
      if (kept.chain[steps - 1] !== last) continue;
      kept.tenantId = tenantId;
      return;
    }
    const length = steps * this.#limits.stepTokens;
    const copy = new Uint32Array(length);
    for (let at = 0; at < length; at++) copy[at] = tokens[at] as number;
    const { model, adapter, cacheSalt } = identity;
    const made = { model, adapter, cacheSalt, tenantId, tokens: copy, chain: this.#chain.slice(0, steps) };
    const begins = ({ chain }: Kept): boolean =>
      chain.length < steps && chain[chain.length - 1] === this.#chain[chain.length - 1];
    this.#kept = this.#kept.filter((kept) => !begins(kept));
    this.#kept.push(made);
    this.#fit(nowMs);
  }

  /** Those worth least go until the rest is within its bounds. */
  #fit(nowMs: number): void {
    const { prefixesMax, keptTokensMax } = this.#limits;
    if (this.#kept.length <= prefixesMax && this.keptTokens <= keptTokensMax) return;
    this.#cool(nowMs);
    const byWorth = this.#kept
      .map((kept) => ({ kept, worth: this.#worth(kept, nowMs) }))
      .sort((a, b) => b.worth - a.worth)
      .slice(0, prefixesMax);
    let sum = 0;
    this.#kept = byWorth.flatMap(({ kept }) => ((sum += kept.tokens.length) <= keptTokensMax ? [kept] : []));
  }

  /** What is asked for no more goes, from the end of each. */
  #cool(nowMs: number): void {
    const { asksMin, stepTokens } = this.#limits;
    this.#kept = this.#kept.filter((kept) => {
      let { length: steps } = kept.chain;
      while (steps > 0 && this.#counts.sure(kept.chain[steps - 1] as number, nowMs) < asksMin) steps--;
      if (steps > 0 && steps < kept.chain.length) {
        kept.chain = kept.chain.slice(0, steps);
        kept.tokens = kept.tokens.slice(0, steps * stepTokens);
      }
      return steps > 0;
    });
    // Two that were cut may have become one.
    this.#kept = this.#kept.filter(
      ({ chain }, at) =>
        !this.#kept.some((other, place) => {
          const longer = other.chain.length > chain.length || (other.chain.length === chain.length && place < at);
          return longer && other.chain[chain.length - 1] === chain[chain.length - 1];
        }),
    );
  }

  /** Tokens that it spares those who ask: of the part of it that spares most. */
  #worth({ chain }: Kept, nowMs: number): number {
    let most = 0;
    for (let step = 0; step < chain.length; step++) {
      const worth = this.#counts.sure(chain[step] as number, nowMs) * (step + 1) * this.#limits.stepTokens;
      if (worth > most) most = worth;
    }
    return most;
  }
}
