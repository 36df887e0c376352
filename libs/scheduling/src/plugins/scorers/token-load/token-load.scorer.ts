import type { Scorer } from '../../../contract.ts';
import { paramsOf } from '../../../param-spec.ts';
import { scoreLeastOf } from '../../../signals.ts';

export const tokenLoad: Scorer = {
  kind: 'scorer',
  type: 'token-load',
  version: 1,
  stability: 'stable',
  reads: ['inflightTokens', 'inflight', 'warmth'],
  params: paramsOf('token-load', {}),
  /** Fewest tokens still to be computed score 1, most 0. */
  score(context, _params, out) {
    scoreLeastOf(context, 'inflightTokens', Infinity, out);
  },
};
