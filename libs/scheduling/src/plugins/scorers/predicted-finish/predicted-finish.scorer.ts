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

/** How far the fleet is from idle, 0 to 1: the mean wait before a new prompt is begun, against `halfMs`. */
function pressure({ candidates, keep }: PickContext, halfMs: number): number {
  const ahead = candidates.values('prefillTokens');
  const perKToken = candidates.values('ttftPerKTokenMs');
  let sum = 0;
  let kept = 0;
  for (let i = 0; i < candidates.count; i++) {
    if (keep[i] === 0) continue;
    sum += ((perKToken[i] as number) * (ahead[i] as number)) / 1000;
    kept++;
  }
  const waitMs = kept > 0 ? sum / kept : 0;
  return waitMs / (waitMs + halfMs);
}

/** Whether it is known of each kept candidate. Where it is of none the request names no adapter, which is nothing to note. */
function adaptersKnown({ candidates, keep, notes }: PickContext): boolean {
  const resident = candidates.values('adapterResident');
  let known = 0;
  let kept = 0;
  for (let i = 0; i < candidates.count; i++) {
    if (keep[i] === 0) continue;
    kept++;
    if (!Number.isNaN(resident[i])) known++;
  }
  if (known > 0 && known < kept) notes.add('unknown:adapterResident');
  return known > 0 && known === kept;
}

/** Reused: picks are synchronous. */
const costs = { hostBlockMs: 0, storageBlockMs: 0 };

const warmthMin = 0.05;

export const predictedFinish: Scorer = {
  kind: 'scorer',
  type: 'predicted-finish',
  version: 1,
  stability: 'experimental',
  reads: ['inflight', 'warmth', 'adapterResident', 'hostBlocks', 'storageBlocks', ...predictionReads],
  params: paramsOf('predicted-finish', {
    outputTokens: { default: 200, min: 0, max: 1_000_000 },
    decodeWeight: { default: 0.1, min: 0, max: 100 },
    othersWeight: { default: 1, min: 0, max: 100 },
    pressureHalfMs: { default: 2_000, min: 1, max: 3_600_000 },
    tokensPerRequest: { default: 50, min: 0, max: 100_000 },
    adapterLoadMs: { default: 300, min: 0, max: 3_600_000 },
    hostBlockMs: { default: 0.1, min: 0, max: 1_000 },
    storageBlockMs: { default: 1, min: 0, max: 10_000 },
  }),
  /** Least predicted time to the first token, with a share of the rest and of the time that others lose by it, scores 1; most 0. */
  score(context, params, out) {
    const { candidates } = context;
    costs.hostBlockMs = params['hostBlockMs'] as number;
    costs.storageBlockMs = params['storageBlockMs'] as number;
    const prediction = predict(context, context.keep, costs);
    if (prediction === undefined) {
      if (!writeTokens(context, params['tokensPerRequest'] as number, out)) writeLoads(context, out);
      scoreLeast(context, out);
      return;
    }
    const { ttftMs, tpotMs, uncachedTokens: uncached } = prediction;
    const tokens = outputTokensOf(context, params['outputTokens'] as number);
    const decode = (params['decodeWeight'] as number) * tokens;
    const othersWeight = (params['othersWeight'] as number) * pressure(context, params['pressureHalfMs'] as number);
    const perKToken = candidates.values('ttftPerKTokenMs');
    const tpotPerDecoding = candidates.values('tpotPerDecodingMs');
    const decoding = candidates.values('decoding');
    const warmth = candidates.values('warmth');
    const adapterLoadMs = adaptersKnown(context) ? (params['adapterLoadMs'] as number) : 0;
    const resident = candidates.values('adapterResident');
    for (let i = 0; i < candidates.count; i++) {
      const loadMs = adapterLoadMs > 0 && resident[i] === 0 ? adapterLoadMs : 0;
      const own = loadMs + (ttftMs[i] as number) + decode * (tpotMs[i] as number);
      const prefillMs = ((perKToken[i] as number) * (uncached[i] as number)) / 1000;
      const others = (decoding[i] as number) * (prefillMs + decode * (tpotPerDecoding[i] as number));
      const warm = warmth[i] as number;
      const cost = own + othersWeight * others;
      out[i] = warm < 1 ? cost / (warm > warmthMin ? warm : warmthMin) : cost;
    }
    scoreLeast(context, out);
  },
};
