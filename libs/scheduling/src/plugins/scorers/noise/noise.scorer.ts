import type { Scorer } from '../../../contract.ts';
import { paramsOf } from '../../../param-spec.ts';

export const noise: Scorer = {
  kind: 'scorer',
  type: 'noise',
  version: 1,
  stability: 'stable',
  reads: [],
  params: paramsOf('noise', {}),
  /** Uniform in [0, 1) from the pick's seed. What `random` brings into a mix. */
  score(context, _params, out) {
    for (let i = 0; i < context.candidates.count; i++) out[i] = context.rng.next();
  },
};
