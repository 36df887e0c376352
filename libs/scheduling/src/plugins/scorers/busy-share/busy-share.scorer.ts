import type { Scorer } from '../../../contract.ts';
import { paramsOf } from '../../../param-spec.ts';
import { scoreLeastOf } from '../../../signals.ts';

export const busyShare: Scorer = {
  kind: 'scorer',
  type: 'busy-share',
  version: 1,
  stability: 'stable',
  reads: ['busyShare', 'inflight', 'warmth'],
  params: paramsOf('busy-share', {}),
  /** Least busy over the window scores 1, most 0. */
  score(context, _params, out) {
    scoreLeastOf(context, 'busyShare', Infinity, out);
  },
};
