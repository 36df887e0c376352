import type { Filter } from '../../../contract.ts';
import { paramsOf } from '../../../param-spec.ts';
import { allKnown } from '../../../signals.ts';

export const loadBand: Filter = {
  kind: 'filter',
  type: 'load-band',
  version: 1,
  stability: 'stable',
  reads: ['inflight'],
  params: paramsOf('load-band', { factor: { default: 1, min: 0, max: 100 } }),
  /** Keeps replicas with inflight ≤ mean + factor × σ (sample deviation); the least loaded always stays. */
  filter(context, params) {
    if (!allKnown(context, 'inflight', Infinity)) return;
    const { candidates, keep } = context;
    const inflight = candidates.values('inflight');
    let kept = 0;
    let sum = 0;
    for (let i = 0; i < candidates.count; i++) {
      if (keep[i] === 0) continue;
      kept++;
      sum += inflight[i] as number;
    }
    if (kept < 2) return;
    const mean = sum / kept;
    let squares = 0;
    for (let i = 0; i < candidates.count; i++) {
      const distance = (inflight[i] as number) - mean;
      if (keep[i] !== 0) squares += distance * distance;
    }
    const bound = mean + (params['factor'] as number) * Math.sqrt(squares / (kept - 1));
    for (let i = 0; i < candidates.count; i++) {
      // Half a thousandth of slack: equal loads whose mean was rounded down stay.
      if ((inflight[i] as number) > bound + 0.0005) keep[i] = 0;
    }
  },
};
