import type { Filter } from '../../../contract.ts';
import { paramsOf } from '../../../param-spec.ts';
import { allKnown } from '../../../signals.ts';

export const loadImbalance: Filter = {
  kind: 'filter',
  type: 'load-imbalance',
  version: 1,
  stability: 'stable',
  reads: ['inflight'],
  params: paramsOf('load-imbalance', { inflightGapMax: { default: 16, min: 1, max: 1_000_000, integer: true } }),
  /** Where the most loaded has over `inflightGapMax` requests more than the least loaded, only the least loaded stay. */
  filter(context, params) {
    if (!allKnown(context, 'inflight', Infinity)) return;
    const { candidates, keep } = context;
    const inflight = candidates.values('inflight');
    let least = Infinity;
    let most = -Infinity;
    for (let i = 0; i < candidates.count; i++) {
      const value = inflight[i] as number;
      if (keep[i] === 0) continue;
      if (value < least) least = value;
      if (value > most) most = value;
    }
    if (!(most - least > (params['inflightGapMax'] as number))) return;
    context.notes.add('imbalance');
    for (let i = 0; i < candidates.count; i++) {
      if ((inflight[i] as number) > least) keep[i] = 0;
    }
  },
};
