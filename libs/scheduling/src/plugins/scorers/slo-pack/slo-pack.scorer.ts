import type { Scorer } from '../../../contract.ts';
import { paramsOf } from '../../../param-spec.ts';
import { missOf, predict, predictionReads, tpotTargetOf, ttftTargetOf } from '../../../prediction.ts';
import { allKnown, scoreLeast, scoreMost, writeLoads } from '../../../signals.ts';

export const sloPack: Scorer = {
  kind: 'scorer',
  type: 'slo-pack',
  version: 1,
  stability: 'experimental',
  reads: ['inflightTokens', 'inflight', 'warmth', ...predictionReads],
  params: paramsOf('slo-pack', {
    ttftMs: { default: 0, min: 0, max: 3_600_000 },
    tpotMs: { default: 0, min: 0, max: 3_600_000 },
  }),
  /** The fullest of those expected to meet the targets scores 1; where nobody is, or nothing is known, the emptiest does. */
  score(context, params, out) {
    const { candidates, keep } = context;
    const ttftTargetMs = ttftTargetOf(context, params);
    const tpotTargetMs = tpotTargetOf(context, params);
    const tokensKnown = allKnown(context, 'inflightTokens', Infinity);
    const prediction = ttftTargetMs + tpotTargetMs > 0 && tokensKnown ? predict(context) : undefined;
    const tokens = candidates.values('inflightTokens');
    let meeting = 0;
    for (let i = 0; i < candidates.count; i++) {
      if (prediction === undefined || keep[i] === 0) continue;
      const { ttftMs, tpotMs } = prediction;
      if (missOf(ttftMs[i] as number, ttftTargetMs, tpotMs[i] as number, tpotTargetMs) === 0) meeting++;
    }
    if (tokensKnown) for (let i = 0; i < candidates.count; i++) out[i] = tokens[i] as number;
    else writeLoads(context, out);
    if (prediction === undefined || meeting === 0) {
      scoreLeast(context, out);
      return;
    }
    const { ttftMs, tpotMs } = prediction;
    for (let i = 0; i < candidates.count; i++) {
      if (missOf(ttftMs[i] as number, ttftTargetMs, tpotMs[i] as number, tpotTargetMs) > 0) out[i] = -1;
    }
    scoreMost(context, out);
  },
};
