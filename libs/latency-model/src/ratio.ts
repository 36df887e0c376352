import { latencyModelLimits as limits } from './limits.ts';

const ratioMax = limits.correctionMax;

/** How a replica's own times go by those that the model of its kind predicts, and how far single ones lie from that. */
export class Correction {
  samples = 0;
  /** Mean of |took ∕ predicted − factor|: the uncertainty of a prediction, as a share of it. */
  spread = 0;
  #factor = 1;

  /** 1 is as predicted. */
  get factor(): number {
    return this.#factor;
  }

  observe(tookMs: number, predictedMs: number): void {
    if (!(predictedMs > 0 && tookMs >= 0)) return;
    const ratio = Math.min(ratioMax, tookMs / predictedMs);
    this.samples++;
    const share = Math.max(limits.correctionShare, 1 / (this.samples + 1));
    const apart = Math.abs(ratio - this.#factor);
    this.spread += share * (apart - this.spread);
    const factor = this.#factor + share * (ratio - this.#factor);
    this.#factor = Math.min(limits.correctionMax, Math.max(limits.correctionMin, factor));
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
