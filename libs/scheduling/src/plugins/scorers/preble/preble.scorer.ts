import type { PickContext, Scorer } from '../../../contract.ts';
import { paramsOf } from '../../../param-spec.ts';
import { uncachedTokens } from '../../../prediction.ts';
import { allKnown, scoreLeast, writeLoads } from '../../../signals.ts';

/** Blocks of the longest match among the kept; 0 where depths are unknown. */
function deepest(context: PickContext): number {
  const { candidates, keep, request } = context;
  if (request.prefixBlocks === 0) {
    context.notes.add('no-prefix');
    return 0;
  }
  if (!allKnown(context, 'prefixBlocks', Infinity)) return 0;
  const depth = candidates.values('prefixBlocks');
  let most = 0;
  for (let i = 0; i < candidates.count; i++)
    if (keep[i] !== 0 && (depth[i] as number) > most) most = depth[i] as number;
  return most;
}

/** Work sent there over the window; by load where it is unknown, with false. */
function writeWork(context: PickContext, out: Float64Array): boolean {
  if (!allKnown(context, 'workMs', Infinity) || !allKnown(context, 'ttftPerKTokenMs', Infinity)) {
    writeLoads(context, out);
    return false;
  }
  const work = context.candidates.values('workMs');
  for (let i = 0; i < context.candidates.count; i++) out[i] = work[i] as number;
  return true;
}

export const preble: Scorer = {
  kind: 'scorer',
  type: 'preble',
  version: 1,
  stability: 'experimental',
  reads: ['prefixBlocks', 'workMs', 'ttftPerKTokenMs', 'inflight', 'warmth'],
  params: paramsOf('preble', { exploitShareMin: { default: 0.5, min: 0, max: 1 } }),
  /** Past the share: the least work among those with the longest match. Else least work and cost of what is not cached. */
  score(context, params, out) {
    const { candidates, keep, request } = context;
    const most = deepest(context);
    const inMs = writeWork(context, out);
    if (most > (params['exploitShareMin'] as number) * request.prefixBlocks) {
      const depth = candidates.values('prefixBlocks');
      let dearest = 0;
      for (let i = 0; i < candidates.count; i++)
        if (keep[i] !== 0 && (out[i] as number) > dearest) dearest = out[i] as number;
      // Whoever has less of it comes behind the busiest of those that have it.
      for (let i = 0; i < candidates.count; i++) if (depth[i] !== most) out[i] = 2 * dearest + 1;
    } else if (inMs) {
      const uncached = uncachedTokens(context);
      const perKToken = candidates.values('ttftPerKTokenMs');
      for (let i = 0; i < candidates.count; i++) {
        out[i] = (out[i] as number) + ((perKToken[i] as number) * (uncached[i] as number)) / 1000;
      }
    }
    scoreLeast(context, out);
  },
};
