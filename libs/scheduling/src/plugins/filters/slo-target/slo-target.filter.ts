import type { Filter } from '../../../contract.ts';
import { paramsOf } from '../../../param-spec.ts';
import { missOf, predict, predictionReads, tpotTargetOf, ttftTargetOf } from '../../../prediction.ts';

export const sloTarget: Filter = {
  kind: 'filter',
  type: 'slo-target',
  version: 1,
  stability: 'experimental',
  reads: predictionReads,
  params: paramsOf('slo-target', {
    ttftMs: { default: 0, min: 0, max: 3_600_000 },
    tpotMs: { default: 0, min: 0, max: 3_600_000 },
  }),
  /** Keeps those expected to meet the targets; where none is, those that miss by least. */
  filter(context, params) {
    const ttftTargetMs = ttftTargetOf(context, params);
    const tpotTargetMs = tpotTargetOf(context, params);
    if (ttftTargetMs === 0 && tpotTargetMs === 0) {
      context.notes.add('no-target');
      return;
    }
    const prediction = predict(context);
    if (prediction === undefined) return;
    const { ttftMs, tpotMs } = prediction;
    const { candidates, keep } = context;
    let least = Infinity;
    for (let i = 0; i < candidates.count; i++) {
      if (keep[i] === 0) continue;
      const miss = missOf(ttftMs[i] as number, ttftTargetMs, tpotMs[i] as number, tpotTargetMs);
      if (miss < least) least = miss;
    }
    if (least > 0) context.notes.add('slo-missed');
    for (let i = 0; i < candidates.count; i++) {
      if (missOf(ttftMs[i] as number, ttftTargetMs, tpotMs[i] as number, tpotTargetMs) > least) keep[i] = 0;
    }
  },
};
