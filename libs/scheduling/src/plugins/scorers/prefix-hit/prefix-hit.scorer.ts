import type { Scorer } from '../../../contract.ts';
import { paramsOf } from '../../../param-spec.ts';
import { scoreMost } from '../../../signals.ts';

export const prefixHit: Scorer = {
  kind: 'scorer',
  type: 'prefix-hit',
  version: 1,
  stability: 'stable',
  reads: ['prefixBlocks'],
  params: paramsOf('prefix-hit', { relative: { default: false } }),
  /** Share of the prompt's blocks believed to be cached; an unknown depth has no opinion. */
  score(context, params, out) {
    const { request, candidates } = context;
    const total = request.prefixBlocks;
    if (total === 0) context.notes.add('no-prefix');
    const depth = candidates.values('prefixBlocks');
    for (let i = 0; i < candidates.count; i++) {
      const share = total > 0 ? (depth[i] as number) / total : 0;
      out[i] = share > 1 ? 1 : share;
    }
    if (params['relative'] === true) scoreMost(context, out);
  },
};
