/** Bounds and rates of a fit. Exact arithmetic throughout: + − × ÷ and comparisons, so that every machine learns the same numbers. */
export interface FitOptions {
  /** Coefficients before anything was seen; each is believed to lie within a few times that. All above 0. */
  readonly start: readonly number[];
  /** Most that a coefficient can come to; the least is 0. */
  readonly max: readonly number[];
  /** 1 never forgets; 0.998 remembers about the last 500 observations. */
  readonly forgetting: number;
}

/** In units of `start`. Nothing is ever believed less than it was at first, or a steady load, which teaches nothing, would undo what was learnt. */
const varianceMax = 4;
const varianceMin = 1e-9;
/** Of a single observation, as a share of its scale, squared. */
const noise = 0.1;
/** An observation moves the fit as if it missed by at most this many times its scale. */
const missMax = 4;

/** Recursive least squares with forgetting over a few features; coefficients are kept in [0, max]. */
export class Fit {
  readonly coefficients: Float64Array;
  /** Observations taken in. */
  samples = 0;
  readonly #start: readonly number[];
  readonly #max: readonly number[];
  readonly #forgetting: number;
  /** Coefficients by `start`, and how they vary together. */
  readonly #weights: Float64Array;
  readonly #covariance: Float64Array;
  readonly #features: Float64Array;
  readonly #gain: Float64Array;

  constructor({ start, max, forgetting }: FitOptions) {
    const { length } = start;
    this.coefficients = Float64Array.from(start);
    this.#start = start;
    this.#max = max;
    this.#forgetting = forgetting;
    this.#weights = new Float64Array(length).fill(1);
    this.#covariance = new Float64Array(length * length);
    for (let i = 0; i < length; i++) this.#covariance[i * length + i] = varianceMax;
    this.#features = new Float64Array(length);
    this.#gain = new Float64Array(length);
  }

  predict(features: ArrayLike<number>): number {
    let sum = 0;
    for (let i = 0; i < this.coefficients.length; i++) {
      sum += (this.coefficients[i] as number) * (features[i] as number);
    }
    return sum;
  }

  /** Takes in one observation. `scale` is about how large it is: errors count by their share of it, so that the slow do not rule. */
  observe(features: ArrayLike<number>, value: number, scale: number): void {
    const { length } = this.coefficients;
    const weights = this.#weights;
    const scaled = this.#features;
    const gain = this.#gain;
    const p = this.#covariance;
    for (let i = 0; i < length; i++) scaled[i] = ((features[i] as number) * (this.#start[i] as number)) / scale;
    let spread = noise;
    let predicted = 0;
    for (let i = 0; i < length; i++) {
      let sum = 0;
      for (let j = 0; j < length; j++) sum += (p[i * length + j] as number) * (scaled[j] as number);
      gain[i] = sum;
      spread += sum * (scaled[i] as number);
      predicted += (weights[i] as number) * (scaled[i] as number);
    }
    const miss = value / scale - predicted;
    const step = (miss > missMax ? missMax : miss < -missMax ? -missMax : miss) / spread;
    for (let i = 0; i < length; i++) weights[i] = (weights[i] as number) + (gain[i] as number) * step;
    this.#narrow(spread);
    this.#bound();
    this.samples++;
  }

  /** P ← (P − g·gᵀ ∕ spread) ∕ forgetting, symmetric by construction, its diagonal bounded. */
  #narrow(spread: number): void {
    const { length } = this.coefficients;
    const p = this.#covariance;
    const gain = this.#gain;
    let forget = this.#forgetting;
    for (let i = 0; i < length; i++) if ((p[i * length + i] as number) > varianceMax * forget) forget = 1;
    for (let i = 0; i < length; i++) {
      for (let j = i; j < length; j++) {
        const value = ((p[i * length + j] as number) - ((gain[i] as number) * (gain[j] as number)) / spread) / forget;
        p[i * length + j] = value;
        p[j * length + i] = value;
      }
      // Rounding may take a variance below 0, from where nothing would be learnt any more.
      if (!((p[i * length + i] as number) > varianceMin)) p[i * length + i] = varianceMin;
    }
  }

  /** What one coefficient is held back from falls to those that vary with it: else the rest would stay wrong by it. */
  #bound(): void {
    const { coefficients } = this;
    const { length } = coefficients;
    const weights = this.#weights;
    const p = this.#covariance;
    for (let i = 0; i < length; i++) {
      const back = 0 - (weights[i] as number);
      if (!(back > 0)) continue;
      for (let j = 0; j < length; j++) {
        if (j === i) continue;
        const shared = (p[j * length + i] as number) / (p[i * length + i] as number);
        weights[j] = (weights[j] as number) + shared * back;
      }
      weights[i] = 0;
    }
    for (let i = 0; i < length; i++) {
      const max = (this.#max[i] as number) / (this.#start[i] as number);
      const weight = weights[i] as number;
      // Written so that what is no number becomes 0.
      const kept = weight > 0 ? (weight < max ? weight : max) : 0;
      weights[i] = kept;
      coefficients[i] = kept * (this.#start[i] as number);
    }
  }
}
