import { latencyModelLimits as limits } from './limits.ts';

/** Four buckets for each doubling: a quantile is right within a fifth. */
const perDoubling = 4;
const buckets = 22 * perDoubling;

const doublings = (tokens: number): number => 31 - Math.clz32(tokens);

function bucketOf(tokens: number): number {
  const whole = Math.max(1, Math.floor(tokens));
  const doubling = doublings(whole);
  const base = 2 ** doubling;
  return Math.min(buckets - 1, doubling * perDoubling + Math.floor(((whole - base) * perDoubling) / base));
}

/** Middle of a bucket. */
function tokensOf(bucket: number): number {
  const base = 2 ** Math.floor(bucket / perDoubling);
  return Math.floor(base + (base * ((bucket % perDoubling) + 0.5)) / perDoubling);
}

class Histogram {
  readonly counts = new Float64Array(buckets);
  total = 0;

  add(tokens: number): void {
    const bucket = bucketOf(tokens);
    this.counts[bucket] = (this.counts[bucket] as number) + 1;
    if (++this.total < limits.lengthSamplesMax) return;
    this.total = 0;
    for (let i = 0; i < buckets; i++) {
      this.counts[i] = (this.counts[i] as number) / 2;
      this.total += this.counts[i] as number;
    }
  }

  quantile(share: number): number {
    if (this.total < limits.lengthSamplesMin) return Number.NaN;
    const wanted = this.total * share;
    let sum = 0;
    for (let bucket = 0; bucket < buckets; bucket++) {
      sum += this.counts[bucket] as number;
      if (sum > 0 && sum >= wanted) return tokensOf(bucket);
    }
    return tokensOf(buckets - 1);
  }
}

/**
 * How long answers are, by tenant, model and length of the prompt (a bucket for each doubling); learnt from answers that came to
 * their end. Where a tenant has too few, those of all tenants count; then those of all prompts.
 */
export class OutputLengths {
  readonly #histograms = new Map<string, Histogram>();

  get size(): number {
    return this.#histograms.size;
  }

  observe(tenant: string, model: string, promptTokens: number, outputTokens: number): void {
    if (!(outputTokens >= 1)) return;
    for (const key of keysOf(tenant, model, promptTokens)) this.#at(key).add(outputTokens);
  }

  /** NaN where nothing like it was seen often enough. */
  quantile(share: number, tenant: string, model: string, promptTokens: number): number {
    const like = `${model}\n${lengthOf(promptTokens)}`;
    return (
      this.#known(`${like}\n${tenant}`, share) ?? this.#known(like, share) ?? this.#known(model, share) ?? Number.NaN
    );
  }

  #known(key: string, share: number): number | undefined {
    const found = this.#histograms.get(key)?.quantile(share);
    return found === undefined || Number.isNaN(found) ? undefined : found;
  }

  #at(key: string): Histogram {
    const known = this.#histograms.get(key);
    // Moved to the end: the first of the map is the one used longest ago.
    if (known !== undefined) this.#histograms.delete(key);
    else if (this.#histograms.size >= limits.lengthHistogramsMax) {
      this.#histograms.delete(this.#histograms.keys().next().value as string);
    }
    const histogram = known ?? new Histogram();
    this.#histograms.set(key, histogram);
    return histogram;
  }
}

const lengthOf = (promptTokens: number): number => doublings(Math.max(1, Math.floor(promptTokens)));

/** From the most special to the most general. */
function keysOf(tenant: string, model: string, promptTokens: number): readonly string[] {
  const like = `${model}\n${lengthOf(promptTokens)}`;
  return [`${like}\n${tenant}`, like, model];
}
