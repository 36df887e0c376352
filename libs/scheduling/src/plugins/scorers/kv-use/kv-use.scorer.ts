import type { Scorer } from '../../../contract.ts';
import { paramsOf } from '../../../param-spec.ts';
import { allKnown, scoreLeast, writeLoads } from '../../../signals.ts';

export const kvUse: Scorer = {
  kind: 'scorer',
  type: 'kv-use',
  version: 1,
  stability: 'stable',
  reads: ['kvUse', 'inflight', 'warmth'],
  params: paramsOf('kv-use', { staleMsMax: { default: 5000, min: 1, max: 600_000 } }),
  /** Least KV-cache use scores 1, most 0. Where one replica's use is unknown or stale, all are scored by load. */
  score(context, params, out) {
    if (allKnown(context, 'kvUse', params['staleMsMax'] as number)) {
      const use = context.candidates.values('kvUse');
      for (let i = 0; i < context.candidates.count; i++) out[i] = use[i] as number;
    } else {
      writeLoads(context, out);
    }
    scoreLeast(context, out);
  },
};
