/** Sixteen steps for each doubling, from 1/64 to 64 times: a quantile is right within 4.5 %. */
const stepRatio = 1.0442737824274138;
const steps = 193;
const stepOfOne = 96;

/** Upper bounds of the steps; made by multiplication, so that they are the same everywhere. */
const bounds = new Float64Array(steps);
bounds[stepOfOne] = 1;
for (let at = stepOfOne + 1; at < steps; at++) bounds[at] = (bounds[at - 1] as number) * stepRatio;
for (let at = stepOfOne - 1; at >= 0; at--) bounds[at] = (bounds[at + 1] as number) / stepRatio;

function stepOf(ratio: number): number {
  let low = 0;
  let high = steps - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ratio <= (bounds[middle] as number)) high = middle;
    else low = middle + 1;
  }
  return low;
}

export interface RatioLimits {
  /** Fewer observations than this say nothing. */
  readonly observationsMin: number;
  /** At so many all count half: the mix changes. */
  readonly observationsMax: number;
}

/** The nine ratios between ten deciles. Never changed once made: a prediction keeps those of its time. */
export type DecileCuts = Float64Array;

/** Deciles are cut anew after so many observations. */
const observationsPerCut = 32;

/** How measured times lie by predicted ones: quantiles of measured ∕ predicted, lately. */
export class RatioQuantiles {
  readonly #counts = new Float64Array(steps);
  #count = 0;
  #sinceCut = 0;
  #cuts: DecileCuts | undefined;

  constructor(private readonly limits: RatioLimits) {}

  observe(ratio: number): void {
    if (!(ratio > 0)) return;
    const step = stepOf(ratio);
    this.#counts[step] = (this.#counts[step] as number) + 1;
    this.#count++;
    this.#sinceCut++;
    if (this.#count < this.limits.observationsMax) return;
    for (let each = 0; each < steps; each++) this.#counts[each] = (this.#counts[each] as number) / 2;
    this.#count /= 2;
  }

  /** The ratio that this share stays within; NaN where too little was seen. */
  at(share: number): number {
    if (this.#count < this.limits.observationsMin) return Number.NaN;
    const wanted = share * this.#count;
    let sum = 0;
    for (let step = 0; step < steps; step++) {
      const count = this.#counts[step] as number;
      if (count > 0 && sum + count >= wanted) {
        // Even inside the step, so that its edges do not gather what lies between them.
        const upper = bounds[step] as number;
        return upper - (upper - upper / stepRatio) * (1 - (wanted - sum) / count);
      }
      sum += count;
    }
    return bounds[steps - 1] as number;
  }

  /** As of the last 32 observations at most; undefined where too little was seen. */
  get cuts(): DecileCuts | undefined {
    if (this.#count < this.limits.observationsMin) return undefined;
    if (this.#cuts !== undefined && this.#sinceCut < observationsPerCut) return this.#cuts;
    this.#sinceCut = 0;
    const cuts = new Float64Array(9);
    for (let each = 0; each < 9; each++) cuts[each] = this.at((each + 1) / 10);
    return (this.#cuts = cuts);
  }
}

/** What was said when a request was sent, and what came of it. */
export class Forecast {
  /** NaN: it did not come, or nobody saw it. */
  measuredMs = Number.NaN;
  /** 1 to 10: into which tenth of what was expected it fell; 0 is not known. */
  decile = 0;
  readonly #cuts: DecileCuts | undefined;

  constructor(
    readonly predictedMs: number,
    cuts: DecileCuts | undefined,
  ) {
    this.#cuts = cuts;
  }

  /** One in ten was expected to come before it; NaN is not known. */
  get lowMs(): number {
    return this.#cuts === undefined ? Number.NaN : this.predictedMs * (this.#cuts[0] as number);
  }

  /** One in ten was expected to come after it; NaN is not known. */
  get highMs(): number {
    return this.#cuts === undefined ? Number.NaN : this.predictedMs * (this.#cuts[8] as number);
  }

  /** It took so long. Answers measured ∕ predicted. */
  came(tookMs: number): number {
    this.measuredMs = tookMs;
    const ratio = tookMs / this.predictedMs;
    if (this.#cuts !== undefined && ratio > 0) {
      let decile = 1;
      for (let at = 0; at < 9 && ratio > (this.#cuts[at] as number); at++) decile++;
      this.decile = decile;
    }
    return ratio;
  }
}
