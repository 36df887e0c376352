import type { Scorer } from '../../../contract.ts';
import { paramsOf } from '../../../param-spec.ts';
import { scoreLeast, writeLoads } from '../../../signals.ts';

export const tenantPlace: Scorer = {
  kind: 'scorer',
  type: 'tenant-place',
  version: 1,
  stability: 'stable',
  reads: ['tenantLevel', 'inflight', 'warmth'],
  params: paramsOf('tenant-place', {}),
  /** Light tenants to the front of the candidates, heavy ones to the back; a request without a tenant goes by load. */
  score(context, _params, out) {
    const { candidates } = context;
    const { count } = candidates;
    const level = candidates.values('tenantLevel')[0] as number;
    if (Number.isNaN(level)) {
      context.notes.add('no-tenant');
      writeLoads(context, out);
      scoreLeast(context, out);
      return;
    }
    const share = level < 0 ? 0 : level > 1 ? 1 : level;
    const last = count > 1 ? count - 1 : 1;
    for (let i = 0; i < count; i++) {
      const apart = i / last - share;
      out[i] = 1 - (apart < 0 ? -apart : apart);
    }
  },
};
