import type { SeededRng } from '#libs/kernel';

/** Exponential with this mean: the gaps of a Poisson process. */
export const exponential = (rng: SeededRng, mean: number): number => -Math.log(1 - rng.next()) * mean;

/** Log-normal by its median and the factor of one standard deviation, rounded and kept in [least, most]. */
export function logNormal(rng: SeededRng, median: number, factor: number, least: number, most: number): number {
  const normal = Math.sqrt(-2 * Math.log(1 - rng.next())) * Math.cos(2 * Math.PI * rng.next());
  return Math.min(most, Math.max(least, Math.round(median * factor ** normal)));
}

export const between = (rng: SeededRng, least: number, most: number): number => least + rng.below(most - least + 1);

/** An index by Zipf's law: the first is `weights[0]` of the sum, the tenth a tenth of it. */
export class Zipf {
  readonly #cumulated: Float64Array;

  constructor(count: number) {
    this.#cumulated = new Float64Array(count);
    let sum = 0;
    for (let index = 0; index < count; index++) this.#cumulated[index] = sum += 1 / (index + 1);
  }

  draw(rng: SeededRng): number {
    const at = rng.next() * (this.#cumulated.at(-1) as number);
    let low = 0;
    let high = this.#cumulated.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#cumulated[middle] as number) > at) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
