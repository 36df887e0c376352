import type { PickContext, Params, Scorer } from '../../../contract.ts';
import { canServe, roleBits, rolesOf } from '../../../pairing.ts';
import { paramsOf } from '../../../param-spec.ts';
import type { Prediction } from '../../../prediction.ts';
import { outputTokensOf, predict, predictionReads, uncachedTokens } from '../../../prediction.ts';
import { allKnown, loadOf, scoreLeast } from '../../../signals.ts';

/** By candidate; reused between picks, which are synchronous. */
let among = new Uint8Array(16);
let prefillCost = new Float64Array(16);

/** 1 for each that is kept or could compute the prompt for one that is. Answers whether there is one of the latter. */
function findAmong(context: PickContext): boolean {
  const { candidates, keep } = context;
  const { count } = candidates;
  if (among.length < count) {
    among = new Uint8Array(count * 2);
    prefillCost = new Float64Array(count * 2);
  }
  let found = false;
  for (let i = 0; i < count; i++) {
    among[i] = keep[i] as number;
    if (keep[i] !== 0 || (rolesOf(candidates, i) & roleBits.prefill) === 0) continue;
    for (let other = 0; other < count; other++) {
      if (keep[other] === 0 || !canServe(context, i, other)) continue;
      among[i] = 1;
      found = true;
      break;
    }
  }
  return found;
}

/** Who computes the prompt soonest for this one, by `prefillCost`; -1 is nobody. */
function bestPrefill(context: PickContext, decode: number): number {
  const { count } = context.candidates;
  let best = -1;
  for (let i = 0; i < count; i++) {
    if (among[i] === 0 || !canServe(context, i, decode)) continue;
    if (best < 0 || (prefillCost[i] as number) < (prefillCost[best] as number)) best = i;
  }
  return best;
}

const warmthMin = 0.05;
/** A hand-over measured longer ago says nothing of the next one. */
const transferAgeMsMax = 300_000;

const warmed = (cost: number, warmth: number): number =>
  warmth < 1 ? cost / (warmth > warmthMin ? warmth : warmthMin) : cost;

/** Predicted milliseconds of each way; writes the lesser one and with whom. */
function byFinish(
  context: PickContext,
  params: Params,
  { uncachedTokens: uncached, ttftMs, tpotMs }: Prediction,
  out: Float64Array,
): void {
  const { candidates, keep, partners } = context;
  const decode = (params['decodeWeight'] as number) * outputTokensOf(context, params['outputTokens'] as number);
  const othersWeight = params['othersWeight'] as number;
  const perKToken = candidates.values('ttftPerKTokenMs');
  const decoding = candidates.values('decoding');
  const warmth = candidates.values('warmth');
  const measured = candidates.values('transferPerKTokenMs');
  const measuredAges = candidates.agesMs('transferPerKTokenMs');
  for (let i = 0; i < candidates.count; i++) {
    const ownMs = ((perKToken[i] as number) * (uncached[i] as number)) / 1000;
    // All that decode there wait for the prompt.
    prefillCost[i] = (ttftMs[i] as number) + othersWeight * (decoding[i] as number) * ownMs;
  }
  for (let i = 0; i < candidates.count; i++) {
    partners[i] = -1;
    if (keep[i] === 0) continue;
    const restMs = decode * (tpotMs[i] as number);
    const bits = rolesOf(candidates, i);
    const alone = warmed((prefillCost[i] as number) + restMs, warmth[i] as number);
    out[i] = (bits & (roleBits.whole | roleBits.wholeInNeed)) === 0 ? Infinity : alone;
    const partner = bestPrefill(context, i);
    if (partner < 0) continue;
    const fresh = (measuredAges[i] as number) <= transferAgeMsMax;
    const transfer = fresh ? (measured[i] as number) : (params['transferPerKTokenMs'] as number);
    const perKTransferMs = transfer >= 0 ? transfer : (params['transferPerKTokenMs'] as number);
    const tokens = uncached[i] as number;
    const handoverMs = (params['handoverMs'] as number) + (perKTransferMs * tokens) / 1000;
    // Of the prompt itself nothing is left to compute but its last token.
    const firstMs = (ttftMs[i] as number) - ((perKToken[i] as number) * (tokens - 1)) / 1000;
    const split =
      warmed(prefillCost[partner] as number, warmth[partner] as number) +
      warmed(handoverMs + firstMs + restMs, warmth[i] as number);
    if (split >= (out[i] as number)) continue;
    out[i] = split;
    partners[i] = partner;
  }
}

/** Before a model is fitted: long prompts are handed over, and tokens (or requests, where these are unknown) are compared. */
function byTokens(context: PickContext, params: Params, out: Float64Array): void {
  const { candidates, keep, partners } = context;
  const { count } = candidates;
  const uncached = uncachedTokens(context, among);
  const byCount = !allKnown(context, 'prefillTokens', Infinity, among);
  const blind = !allKnown(context, 'inflight', Infinity, among);
  const ahead = candidates.values('prefillTokens');
  const inflight = candidates.values('inflight');
  const warmth = candidates.values('warmth');
  const perRequest = params['tokensPerRequest'] as number;
  const busy = (i: number): number => (blind ? 1 : loadOf(inflight[i] as number, warmth[i] as number));
  for (let i = 0; i < count; i++) {
    prefillCost[i] = byCount ? busy(i) : (uncached[i] as number) + (ahead[i] as number) + perRequest * busy(i);
  }
  for (let i = 0; i < count; i++) {
    partners[i] = -1;
    if (keep[i] === 0) continue;
    out[i] = prefillCost[i] as number;
    const partner = bestPrefill(context, i);
    const bound = (rolesOf(candidates, i) & (roleBits.whole | roleBits.wholeInNeed)) === 0;
    if (partner < 0 || (!bound && (uncached[i] as number) < (params['handoverTokensMin'] as number))) continue;
    partners[i] = partner;
    const first = prefillCost[partner] as number;
    out[i] = byCount ? Math.max(first, busy(i)) : first + perRequest * busy(i);
  }
}

/** Says why the best one answers alone though somebody could compute the prompt for it. */
function noteAlone(context: PickContext, out: Float64Array): void {
  const { candidates, keep, partners, notes } = context;
  let best = -1;
  for (let i = 0; i < candidates.count; i++) {
    if (keep[i] !== 0 && (best < 0 || (out[i] as number) < (out[best] as number))) best = i;
  }
  if (best >= 0 && partners[best] === -1) notes.add('alone-cheaper');
}

export const pairFinish: Scorer = {
  kind: 'scorer',
  type: 'pair-finish',
  version: 1,
  stability: 'experimental',
  pairs: true,
  reads: [
    'inflight',
    'warmth',
    ...predictionReads,
    'roles',
    'pairGroup',
    'promptTokensMin',
    'promptTokensMax',
    'transferPerKTokenMs',
  ],
  params: paramsOf('pair-finish', {
    outputTokens: { default: 200, min: 0, max: 1_000_000 },
    decodeWeight: { default: 0.1, min: 0, max: 100 },
    othersWeight: { default: 0.5, min: 0, max: 100 },
    handoverMs: { default: 10, min: 0, max: 60_000 },
    transferPerKTokenMs: { default: 15, min: 0, max: 60_000 },
    handoverTokensMin: { default: 512, min: 0, max: 10_000_000 },
    tokensPerRequest: { default: 50, min: 0, max: 100_000 },
  }),
  /** Least predicted finish, alone or after the best prefill side, scores 1; most 0. */
  score(context, params, out) {
    const handover = findAmong(context);
    if (!handover) context.notes.add('no-prefill');
    const prediction = predict(context, among);
    if (prediction === undefined) byTokens(context, params, out);
    else byFinish(context, params, prediction, out);
    if (handover) noteAlone(context, out);
    scoreLeast(context, out);
  },
};
