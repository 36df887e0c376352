import type { Picker } from '../../../contract.ts';
import { paramsOf } from '../../../param-spec.ts';

export const best: Picker = {
  kind: 'picker',
  type: 'best',
  version: 1,
  stability: 'stable',
  reads: ['inflight'],
  params: paramsOf('best', {}),
  /** Highest total; among equals the fewest in flight; among those, one by the seed. */
  pick(context, _params, totals) {
    const { candidates, keep, rng } = context;
    const inflight = candidates.values('inflight');
    let chosen = -1;
    let equals = 0;
    for (let i = 0; i < candidates.count; i++) {
      if (keep[i] === 0) continue;
      const total = totals[i] as number;
      const bestTotal = chosen < 0 ? -Infinity : (totals[chosen] as number);
      if (total < bestTotal) continue;
      // An unknown count compares neither less nor more: such candidates are told apart by the seed alone.
      const better = total > bestTotal || (inflight[i] as number) < (inflight[chosen] as number);
      if (!better && (inflight[i] as number) > (inflight[chosen] as number)) continue;
      equals = better ? 1 : equals + 1;
      // Each of k equals is left standing with probability 1/k.
      if (equals === 1 || rng.uint32() % equals === 0) chosen = i;
    }
    return chosen;
  },
};
