/** Two-sided 95 % quantiles of Student's t by degrees of freedom; past the table the normal one. */
const t95 = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131];

export interface Estimate {
  readonly mean: number;
  /** Half of the 95 % confidence interval; NaN of fewer than two values. */
  readonly half: number;
}

export function estimate(values: readonly number[]): Estimate {
  const count = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / count;
  if (count < 2) return { mean, half: Number.NaN };
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (count - 1);
  return { mean, half: (t95[count - 2] ?? 1.96) * Math.sqrt(variance / count) };
}

/** The mean of the differences: strategies see the same workload for the same seed, so that the noise they share falls out. */
export const pairedDifference = (values: readonly number[], others: readonly number[]): Estimate =>
  estimate(values.map((value, at) => value - (others[at] as number)));
