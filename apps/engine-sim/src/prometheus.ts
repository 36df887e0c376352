/** A number as Python's client writes it. */
export const number = (value: number): string => (Number.isInteger(value) ? `${value}.0` : String(value));

export class Histogram {
  readonly #counts: Float64Array;
  #sum = 0;
  #count = 0;

  constructor(readonly bounds: readonly number[]) {
    this.#counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    let bucket = 0;
    while (bucket < this.bounds.length && value > this.bounds[bucket]!) bucket++;
    this.#counts[bucket]!++;
    this.#sum += value;
    this.#count++;
  }

  lines(name: string, labels: string, out: string[]): void {
    let sum = 0;
    const comma = labels === '' ? '' : ',';
    for (let bucket = 0; bucket <= this.bounds.length; bucket++) {
      sum += this.#counts[bucket]!;
      const bound = bucket < this.bounds.length ? number(this.bounds[bucket]!) : '+Inf';
      out.push(`${name}_bucket{${labels}${comma}le="${bound}"} ${number(sum)}`);
    }
    const set = labels === '' ? '' : `{${labels}}`;
    out.push(`${name}_count${set} ${number(this.#count)}`, `${name}_sum${set} ${number(this.#sum)}`);
  }
}
