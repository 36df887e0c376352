import type { PickContext, Scorer } from '../../../contract.ts';
import { paramsOf } from '../../../param-spec.ts';
import { outputTokensOf, predict, predictionReads, uncachedTokens } from '../../../prediction.ts';
import { allKnown, loadOf, scoreLeast, writeLoads } from '../../../signals.ts';

/** Before a model is fitted: the tokens that are computed before the first one of this request, and a share for each that decodes. */
function writeTokens(context: PickContext, perRequest: number, out: Float64Array): boolean {
  if (!allKnown(context, 'prefillTokens', Infinity) || !allKnown(context, 'inflight', Infinity)) return false;
  const { candidates } = context;
  const uncached = uncachedTokens(context);
  const ahead = candidates.values('prefillTokens');
  const inflight = candidates.values('inflight');
  const warmth = candidates.values('warmth');
  for (let i = 0; i < candidates.count; i++) {
    const load = loadOf(inflight[i] as number, warmth[i] as number);
    out[i] = (uncached[i] as number) + (ahead[i] as number) + perRequest * load;
  }
  return true;
}

const warmthMin = 0.05;

export const predictedFinish: Scorer = {
  kind: 'scorer',
  type: 'predicted-finish',
  version: 1,
  stability: 'experimental',
  reads: ['inflight', 'warmth', ...predictionReads],
  params: paramsOf('predicted-finish', {
    outputTokens: { default: 200, min: 0, max: 1_000_000 },
    decodeWeight: { default: 1, min: 0, max: 100 },
    othersWeight: { default: 1, min: 0, max: 100 },
    tokensPerRequest: { default: 50, min: 0, max: 100_000 },
  }),
  /** Least predicted time to the end of the answer, with the time that others lose by it, scores 1; most 0. */
  score(context, params, out) {
    const { candidates } = context;
    const prediction = predict(context);
    if (prediction === undefined) {
      if (!writeTokens(context, params['tokensPerRequest'] as number, out)) writeLoads(context, out);
      scoreLeast(context, out);
      return;
    }
    const { ttftMs, tpotMs, uncachedTokens: uncached } = prediction;
    const tokens = outputTokensOf(context, params['outputTokens'] as number);
    const decodeWeight = params['decodeWeight'] as number;
    const othersWeight = params['othersWeight'] as number;
    const perKToken = candidates.values('ttftPerKTokenMs');
    const tpotPerDecoding = candidates.values('tpotPerDecodingMs');
    const decoding = candidates.values('decoding');
    const warmth = candidates.values('warmth');
    for (let i = 0; i < candidates.count; i++) {
      const own = (ttftMs[i] as number) + decodeWeight * tokens * (tpotMs[i] as number);
      const prefillMs = ((perKToken[i] as number) * (uncached[i] as number)) / 1000;
      const others = (decoding[i] as number) * (prefillMs + decodeWeight * tokens * (tpotPerDecoding[i] as number));
      const warm = warmth[i] as number;
      const cost = own + othersWeight * others;
      out[i] = warm < 1 ? cost / (warm > warmthMin ? warm : warmthMin) : cost;
    }
    scoreLeast(context, out);
  },
};
