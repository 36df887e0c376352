import { latencyModelLimits as limits } from './limits.ts';

const share = limits.correctionShare;

/** How a replica's own times go by those that the model of its kind predicts, and how far single ones lie from that. */
export class Correction {
  /** Mean of |took ∕ predicted − factor| lately: the uncertainty of a prediction, as a share of it. */
  spread = 0;
  #weight = 0;
  #sum = 0;
  #atMs = 0;

  /** 1 is as predicted. Few observations and old ones count little beside it: what was slow once is tried again. */
  factorAt(nowMs: number): number {
    const age = nowMs > this.#atMs ? (nowMs - this.#atMs) / limits.correctionFadeMs : 0;
    const faded = 1 / (1 + age);
    return (this.#sum * faded + limits.correctionPrior) / (this.#weight * faded + limits.correctionPrior);
  }

  observe(tookMs: number, predictedMs: number, nowMs: number): void {
    if (!(predictedMs > 0 && tookMs >= 0)) return;
    const ratio = Math.min(limits.correctionMax, Math.max(limits.correctionMin, tookMs / predictedMs));
    const apart = Math.abs(ratio - this.factorAt(nowMs));
    this.spread += share * (apart - this.spread);
    this.#weight = this.#weight * (1 - share) + 1;
    this.#sum = this.#sum * (1 - share) + ratio;
    this.#atMs = nowMs;
  }
}

/** Mean of the latest, with the time of the last. */
export class RecentMean {
  value = Number.NaN;
  atMs = Number.NaN;

  observe(value: number, nowMs: number): void {
    this.value = Number.isNaN(this.value) ? value : this.value + limits.meanShare * (value - this.value);
    this.atMs = nowMs;
  }
}
