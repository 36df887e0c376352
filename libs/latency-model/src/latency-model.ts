import { Fit } from './fit.ts';
import { latencyModelLimits as limits } from './limits.ts';
import { RatioQuantiles } from './ratio-quantiles.ts';

/** What a first token waits for: prompt tokens to be computed up to and with its own, and those that decode meanwhile. */
export interface PrefillLoad {
  readonly tokens: number;
  readonly decoding: number;
}

const tokensPerUnit = 1_000;
const ratioLimits = { observationsMin: limits.ratiosMin, observationsMax: limits.ratiosMax };
/** Errors are weighed by the prediction, yet by no less than this: 1 ms late in 2 is no catastrophe. */
const scaleMsMin = 5;
const perTokenScaleMsMin = 1;

/**
 * How long engines of one kind take for one model:
 * TTFT = base + perKToken × tokens ∕ 1000 + perDecoding × decoding, TPOT = base + perDecoding × decoding.
 * where TPOT leaves out what prompts of others take, which `slowing` tells. The shape is that of a step of continuous batching: weights read once, plus something for each prompt token and each sequence.
 */
export class LatencyModel {
  readonly #ttft = new Fit({
    start: [20, 100, 0.2],
    max: [limits.latencyMsMax, limits.latencyMsMax, 10_000],
    forgetting: limits.forgetting,
  });
  readonly #tpot = new Fit({ start: [10, 0.2], max: [10_000, 1_000], forgetting: limits.forgetting });
  /** Of times as measured by those predicted when the request was sent, with the replica's correction in them. */
  readonly ttftRatios = new RatioQuantiles(ratioLimits);
  readonly finishRatios = new RatioQuantiles(ratioLimits);
  readonly #prefill = new Float64Array(3);
  readonly #decode = new Float64Array(2);

  /** What a token takes by what it takes itself: prompts that come meanwhile take their share of the steps. At least 1. */
  slowing = 1;

  /** Raised with each observation. */
  get version(): number {
    return this.#ttft.samples + this.#tpot.samples;
  }

  /** Enough was seen of both to predict. */
  get known(): boolean {
    return this.#ttft.samples >= limits.samplesMin && this.#tpot.samples >= limits.samplesMin;
  }

  get ttftKnown(): boolean {
    return this.#ttft.samples >= limits.samplesMin;
  }

  get tpotKnown(): boolean {
    return this.#tpot.samples >= limits.samplesMin;
  }

  get ttftBaseMs(): number {
    return this.#ttft.coefficients[0] as number;
  }

  get ttftPerKTokenMs(): number {
    return this.#ttft.coefficients[1] as number;
  }

  get ttftPerDecodingMs(): number {
    return this.#ttft.coefficients[2] as number;
  }

  get tpotBaseMs(): number {
    return this.#tpot.coefficients[0] as number;
  }

  get tpotPerDecodingMs(): number {
    return this.#tpot.coefficients[1] as number;
  }

  ttftMs({ tokens, decoding }: PrefillLoad): number {
    return this.ttftBaseMs + (this.ttftPerKTokenMs * tokens) / tokensPerUnit + this.ttftPerDecodingMs * decoding;
  }

  /** `decoding` counts the request itself. */
  tpotMs(decoding: number): number {
    return this.tpotBaseMs + this.tpotPerDecodingMs * decoding;
  }

  observeTtft({ tokens, decoding }: PrefillLoad, tookMs: number): void {
    if (!(tookMs >= 0 && tookMs <= limits.latencyMsMax)) return;
    const features = this.#prefill;
    features[0] = 1;
    features[1] = tokens / tokensPerUnit;
    features[2] = decoding;
    const predictedMs = this.#ttft.predict(features);
    this.#ttft.observe(features, tookMs, predictedMs > scaleMsMin ? predictedMs : scaleMsMin);
  }

  observeSlowing(ratio: number): void {
    this.slowing += limits.slowingShare * (ratio - this.slowing);
  }

  observeTpot(decoding: number, tookMs: number): void {
    if (!(tookMs >= 0 && tookMs <= limits.latencyMsMax)) return;
    const features = this.#decode;
    features[0] = 1;
    features[1] = decoding;
    const predictedMs = this.#tpot.predict(features);
    this.#tpot.observe(features, tookMs, predictedMs > perTokenScaleMsMin ? predictedMs : perTokenScaleMsMin);
  }
}
