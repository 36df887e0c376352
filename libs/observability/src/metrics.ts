import { collectDefaultMetrics, Registry } from 'prom-client';

export { Counter, Gauge, Histogram, Registry } from 'prom-client';

/**
 * Bounds in seconds, four for each doubling from 1 ms to 65 s (the spacing of a native histogram of schema 2), so that any
 * quantile of TTFT or TPOT is known within 19 %.
 */
export const latencyBucketsSeconds: readonly number[] = Array.from(
  { length: 65 },
  (_, index) => Math.round(0.001 * 2 ** (index / 4) * 1e6) / 1e6,
);

/** A registry with the process's own metrics. One for each app, so that apps in one process stay apart. */
export function createRegistry(app: string): Registry {
  const registry = new Registry();
  registry.setDefaultLabels({ app });
  collectDefaultMetrics({ register: registry });
  return registry;
}

/**
 * Keeps a label's values bounded: past `valuesMax` distinct ones the rest are "other". For names that clients choose.
 */
export class BoundedLabel {
  readonly #seen = new Set<string>();

  constructor(readonly valuesMax: number) {}

  of(value: string): string {
    if (this.#seen.has(value)) return value;
    if (this.#seen.size >= this.valuesMax) return 'other';
    this.#seen.add(value);
    return value;
  }
}
