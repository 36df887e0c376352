import type { Scorer } from '../../../contract.ts';
import { paramsOf } from '../../../param-spec.ts';
import { allKnown, scoreMost } from '../../../signals.ts';

export const prefixHit: Scorer = {
  kind: 'scorer',
  type: 'prefix-hit',
  version: 1,
  stability: 'stable',
  reads: ['prefixBlocks'],
  params: paramsOf('prefix-hit', { relative: { default: false } }),
  /** Share of the prompt's blocks believed to be cached. Where one depth is unknown all score 0, and the picker goes by load. */
  score(context, params, out) {
    const { request, candidates } = context;
    let total = request.prefixBlocks;
    if (total === 0) context.notes.add('no-prefix');
    else if (!allKnown(context, 'prefixBlocks', Infinity)) total = 0;
    const depth = candidates.values('prefixBlocks');
    for (let i = 0; i < candidates.count; i++) {
      const share = total > 0 ? (depth[i] as number) / total : 0;
      out[i] = share > 1 ? 1 : share;
    }
    if (params['relative'] === true) scoreMost(context, out);
  },
};
