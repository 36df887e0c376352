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
  // The last quantile that was asked for, and the total up to which it is good enough.
  #share = Number.NaN;
  #tokens = Number.NaN;
  #goodUntil = 0;

  add(tokens: number): void {
    const bucket = bucketOf(tokens);
    this.counts[bucket] = (this.counts[bucket] as number) + 1;
    if (++this.total < limits.lengthSamplesMax) return;
    this.total = this.#goodUntil = 0;
    for (let i = 0; i < buckets; i++) {
      this.counts[i] = (this.counts[i] as number) / 2;
      this.total += this.counts[i] as number;
    }
  }

  quantile(share: number): number {
    if (this.total < limits.lengthSamplesMin) return Number.NaN;
    if (share !== this.#share || this.total > this.#goodUntil) {
      this.#share = share;
      this.#tokens = this.#quantile(share);
      // A few samples among many move it by no more than a bucket is wide.
      this.#goodUntil = this.total + this.total / samplesPerLook;
    }
    return this.#tokens;
  }

  #quantile(share: number): number {
    const wanted = this.total * share;
    let sum = 0;
    for (let bucket = 0; bucket < buckets; bucket++) {
      sum += this.counts[bucket] as number;
      if (sum > 0 && sum >= wanted) return tokensOf(bucket);
    }
    return tokensOf(buckets - 1);
  }
}

/** A quantile is looked up again when one more for each so many samples came. */
const samplesPerLook = 64;

/** What counts for one tenant, model and length of the prompt, from the most special to the most general. */
interface Kin {
  readonly own: Histogram;
  /** Of all tenants. */
  readonly like: Histogram;
  /** Of all prompts too. */
  readonly model: Histogram;
}

/**
 * How long answers are, by tenant, model and length of the prompt (a bucket for each doubling); learnt from answers that came to
 * their end. Where a tenant has too few, those of all tenants count; then those of all prompts.
 */
export class OutputLengths {
  readonly #kin = new Map<string, Kin>();
  readonly #shared = new Map<string, Histogram>();
  // Requests come in runs of the same kind: the last one used stands at the end of the map and needs no look-up.
  #tenant = '';
  #model = '';
  #bucket = -1;
  #last: Kin | undefined;

  get size(): number {
    return this.#kin.size + this.#shared.size;
  }

  observe(tenant: string, model: string, promptTokens: number, outputTokens: number): void {
    if (!(outputTokens >= 1)) return;
    const kin = this.#kinOf(tenant, model, lengthOf(promptTokens));
    kin.own.add(outputTokens);
    kin.like.add(outputTokens);
    kin.model.add(outputTokens);
  }

  #kinOf(tenant: string, model: string, bucket: number): Kin {
    if (this.#last !== undefined && this.#isLast(tenant, model, bucket)) return this.#last;
    const key = keyOf(tenant, model, bucket);
    const kin = this.#kin.get(key) ?? this.#meet(model, bucket);
    // Moved to the end: the first of the map is the one used longest ago.
    this.#kin.delete(key);
    if (this.#kin.size >= limits.lengthHistogramsMax) this.#kin.delete(this.#kin.keys().next().value as string);
    this.#kin.set(key, kin);
    this.#tenant = tenant;
    this.#model = model;
    this.#bucket = bucket;
    return (this.#last = kin);
  }

  #isLast(tenant: string, model: string, bucket: number): boolean {
    return bucket === this.#bucket && tenant === this.#tenant && model === this.#model;
  }

  /** NaN where nothing like it was seen often enough. */
  quantile(share: number, tenant: string, model: string, promptTokens: number): number {
    const bucket = lengthOf(promptTokens);
    const kin = this.#isLast(tenant, model, bucket) ? this.#last : this.#kin.get(keyOf(tenant, model, bucket));
    const own = kin?.own.quantile(share) ?? Number.NaN;
    if (!Number.isNaN(own)) return own;
    const like = (kin?.like ?? this.#shared.get(likeOf(model, bucket)))?.quantile(share) ?? Number.NaN;
    if (!Number.isNaN(like)) return like;
    return (kin?.model ?? this.#shared.get(model))?.quantile(share) ?? Number.NaN;
  }

  #meet(model: string, bucket: number): Kin {
    return { own: new Histogram(), like: this.#share(likeOf(model, bucket)), model: this.#share(model) };
  }

  #share(key: string): Histogram {
    const known = this.#shared.get(key);
    if (known !== undefined) return known;
    if (this.#shared.size >= limits.lengthSharedMax) this.#shared.delete(this.#shared.keys().next().value as string);
    const histogram = new Histogram();
    this.#shared.set(key, histogram);
    return histogram;
  }
}

const lengthOf = (promptTokens: number): number => doublings(Math.max(1, Math.floor(promptTokens)));
const likeOf = (model: string, bucket: number): string => `${model}\n${bucket}`;
const keyOf = (tenant: string, model: string, bucket: number): string => `${model}\n${bucket}\n${tenant}`;
