import type { Scorer } from '../../../contract.ts';
import { paramsOf } from '../../../param-spec.ts';
import { scoreLeastOf } from '../../../signals.ts';

export const tokenRate: Scorer = {
  kind: 'scorer',
  type: 'token-rate',
  version: 1,
  stability: 'stable',
  reads: ['tokensPerS', 'inflight', 'warmth'],
  params: paramsOf('token-rate', {}),
  /** Fewest tokens a second lately scores 1, most 0. */
  score(context, _params, out) {
    scoreLeastOf(context, 'tokensPerS', Infinity, out);
  },
};
