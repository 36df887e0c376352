import type { Scorer } from '../../../contract.ts';
import { paramsOf } from '../../../param-spec.ts';
import { scoreLeast, writeLoads } from '../../../signals.ts';

export const load: Scorer = {
  kind: 'scorer',
  type: 'load',
  version: 1,
  stability: 'stable',
  reads: ['inflight', 'warmth'],
  params: paramsOf('load', {}),
  /** Least load scores 1, most 0, all equal 1. */
  score(context, _params, out) {
    writeLoads(context, out);
    scoreLeast(context, out);
  },
};
