import { fnv1a32, mix32 } from '#libs/kernel';
import type { Scorer } from '../../../contract.ts';
import { paramsOf } from '../../../param-spec.ts';
import { scoreLeast, scoreMost, writeLoads } from '../../../signals.ts';

export const session: Scorer = {
  kind: 'scorer',
  type: 'session',
  version: 1,
  stability: 'stable',
  reads: ['inflight', 'warmth'],
  params: paramsOf('session', { relative: { default: false } }),
  /** Rendezvous hashing of session × replica id; a request without a session is scored by load. */
  score(context, params, out) {
    const { request, candidates } = context;
    if (request.sessionHash === 0) {
      context.notes.add('no-session');
      writeLoads(context, out);
      scoreLeast(context, out);
      return;
    }
    for (let i = 0; i < candidates.count; i++) {
      out[i] = mix32(request.sessionHash ^ mix32(fnv1a32(candidates.ids[i] as string))) / 4294967296;
    }
    if (params['relative'] === true) scoreMost(context, out);
  },
};
