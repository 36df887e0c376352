import { hedgingLimits as limits } from './limits.ts';

/** 1/16 to 64 times, four steps for each doubling. */
const steps = 41;
const stepsPerDoubling = 4;
const first = -16;

/** How first tokens come by those that were predicted: quantiles of measured ∕ predicted, lately. */
export class LateQuantile {
  readonly #counts = new Float64Array(steps);
  #count = 0;

  observe(ratio: number): void {
    if (!(ratio > 0)) return;
    const step = Math.ceil(Math.log2(ratio) * stepsPerDoubling) - first;
    const index = Math.min(steps - 1, Math.max(0, step));
    this.#counts[index] = (this.#counts[index] as number) + 1;
    if (++this.#count < limits.observationsMax) return;
    for (let each = 0; each < steps; each++) this.#counts[each] = (this.#counts[each] as number) / 2;
    this.#count /= 2;
  }

  /** The ratio that this share stays within; NaN where too little was seen. */
  at(share: number): number {
    if (this.#count < limits.observationsMin) return Number.NaN;
    let sum = 0;
    for (let index = 0; index < steps; index++) {
      sum += this.#counts[index] as number;
      if (sum >= share * this.#count) return 2 ** ((index + first) / stepsPerDoubling);
    }
    return 2 ** ((steps - 1 + first) / stepsPerDoubling);
  }
}
