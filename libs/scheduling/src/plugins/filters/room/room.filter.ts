import type { Filter } from '../../../contract.ts';
import { paramsOf } from '../../../param-spec.ts';
import { outputTokensOf, uncachedTokens } from '../../../prediction.ts';
import { allKnown } from '../../../signals.ts';

export const room: Filter = {
  kind: 'filter',
  type: 'room',
  version: 1,
  stability: 'experimental',
  reads: ['workMs', 'ttftPerKTokenMs', 'tpotPerDecodingMs', 'prefixBlocks', 'outputTokens'],
  params: paramsOf('room', {
    windowMs: { default: 30_000, min: 1, max: 3_600_000 },
    utilizationMax: { default: 1, min: 0.01, max: 100 },
    outputTokens: { default: 200, min: 0, max: 1_000_000 },
  }),
  /** Keeps those whose work of the window leaves room for this request's; where none has room, those with most. */
  filter(context, params) {
    for (const column of ['workMs', 'ttftPerKTokenMs', 'tpotPerDecodingMs'] as const) {
      if (!allKnown(context, column, Infinity)) return;
    }
    const { candidates, keep } = context;
    const uncached = uncachedTokens(context);
    const tokens = outputTokensOf(context, params['outputTokens'] as number);
    const work = candidates.values('workMs');
    const perKToken = candidates.values('ttftPerKTokenMs');
    const perDecoding = candidates.values('tpotPerDecodingMs');
    const boundMs = (params['utilizationMax'] as number) * (params['windowMs'] as number);
    let least = Infinity;
    for (let i = 0; i < candidates.count; i++) {
      const own = ((perKToken[i] as number) * (uncached[i] as number)) / 1000 + (perDecoding[i] as number) * tokens;
      uncached[i] = (work[i] as number) + own;
      if (keep[i] !== 0 && (uncached[i] as number) < least) least = uncached[i] as number;
    }
    if (least > boundMs) context.notes.add('no-room');
    const bound = least > boundMs ? least : boundMs;
    for (let i = 0; i < candidates.count; i++) if ((uncached[i] as number) > bound) keep[i] = 0;
  },
};
