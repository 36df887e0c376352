/** Bounds and rates of a fit. Exact arithmetic throughout: + − × ÷ and comparisons, so that every machine learns the same numbers. */
export interface FitOptions {
  /** Coefficients before anything was seen. */
  readonly start: readonly number[];
  /** Most that a coefficient can come to; the least is 0. */
  readonly max: readonly number[];
  /** 1 never forgets; 0.998 remembers about the last 500 observations. */
  readonly forgetting: number;
}

const varianceStart = 1e4;
/** Without this bound a steady load, which excites nothing, would let the gain grow without end. */
const varianceMax = 1e6;
/** An observation moves the fit as if it missed by at most this many times its prediction. */
const missMax = 4;

/** Recursive least squares with forgetting over a few features; coefficients are kept in [0, max]. */
export class Fit {
  readonly coefficients: Float64Array;
  /** Observations taken in. */
  samples = 0;
  readonly #covariance: Float64Array;
  readonly #gain: Float64Array;
  readonly #max: readonly number[];
  readonly #forgetting: number;

  constructor({ start, max, forgetting }: FitOptions) {
    const { length } = start;
    this.coefficients = Float64Array.from(start);
    this.#covariance = new Float64Array(length * length);
    for (let i = 0; i < length; i++) this.#covariance[i * length + i] = varianceStart;
    this.#gain = new Float64Array(length);
    this.#max = max;
    this.#forgetting = forgetting;
  }

  predict(features: ArrayLike<number>): number {
    let sum = 0;
    for (let i = 0; i < this.coefficients.length; i++)
      sum += (this.coefficients[i] as number) * (features[i] as number);
    return sum;
  }

  /** Takes in one observation. `scale` is about how large it is: errors count by their share of it, so that the slow do not rule. */
  observe(features: ArrayLike<number>, value: number, scale: number): void {
    const { coefficients } = this;
    const { length } = coefficients;
    const p = this.#covariance;
    const gain = this.#gain;
    const noise = this.#forgetting * scale * scale;
    let spread = noise;
    for (let i = 0; i < length; i++) {
      let sum = 0;
      for (let j = 0; j < length; j++) sum += (p[i * length + j] as number) * (features[j] as number);
      gain[i] = sum;
      spread += sum * (features[i] as number);
    }
    const miss = value - this.predict(features);
    const bound = missMax * scale;
    const step = (miss > bound ? bound : miss < -bound ? -bound : miss) / spread;
    for (let i = 0; i < length; i++) {
      const moved = (coefficients[i] as number) + (gain[i] as number) * step;
      const max = this.#max[i] as number;
      // Written so that what is no number becomes 0.
      coefficients[i] = moved > 0 ? (moved < max ? moved : max) : 0;
    }
    this.#narrow(spread);
    this.samples++;
  }

  /** P ← (P − g·gᵀ ∕ spread) ∕ forgetting, symmetric by construction, its diagonal bounded. */
  #narrow(spread: number): void {
    const { length } = this.coefficients;
    const p = this.#covariance;
    const gain = this.#gain;
    let forget = this.#forgetting;
    for (let i = 0; i < length; i++) {
      if ((p[i * length + i] as number) > varianceMax) forget = 1;
    }
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
}

const varianceMin = 1e-9;
