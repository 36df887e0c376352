import type { PickContext, Scorer } from '../../../contract.ts';
import { paramsOf } from '../../../param-spec.ts';
import { outputTokensOf } from '../../../prediction.ts';
import { allKnown, scoreLeast, writeLoads } from '../../../signals.ts';

/** Writes 1 for a candidate that was measured lately and NaN for others; gives how many were. */
function mark({ candidates, keep }: PickContext, ageMsMax: number, out: Float64Array): number {
  const ttft = candidates.values('ttftMs');
  const ages = candidates.agesMs('ttftMs');
  let measured = 0;
  for (let i = 0; i < candidates.count; i++) {
    const known = !Number.isNaN(ttft[i]) && (ages[i] as number) <= ageMsMax;
    out[i] = known ? 1 : Number.NaN;
    if (known && keep[i] !== 0) measured++;
  }
  return measured;
}

/** Those of nobody's measure that nothing is being asked score 1, all others 0; false where there is none. */
function explore({ candidates, keep, notes }: PickContext, out: Float64Array): boolean {
  const inflight = candidates.values('inflight');
  let idle = false;
  for (let i = 0; i < candidates.count; i++) idle ||= keep[i] !== 0 && Number.isNaN(out[i]) && inflight[i] === 0;
  if (!idle) return false;
  notes.add('explore:ttftMs');
  for (let i = 0; i < candidates.count; i++) out[i] = Number.isNaN(out[i]) && inflight[i] === 0 ? 1 : 0;
  return true;
}

export const latency: Scorer = {
  kind: 'scorer',
  type: 'latency',
  version: 1,
  stability: 'stable',
  reads: ['ttftMs', 'tpotMs', 'outputTokens', 'measuredInflight', 'inflight', 'warmth'],
  params: paramsOf('latency', {
    staleMsMax: { default: 60_000, min: 1, max: 3_600_000 },
    outputTokens: { default: 100, min: 0, max: 1_000_000 },
  }),
  /** Least measured latency scores 1, most 0. One that was not measured lately is asked once, then waited for. */
  score(context, params, out) {
    const { candidates, keep } = context;
    const staleMsMax = params['staleMsMax'] as number;
    const measured = mark(context, staleMsMax, out);
    if (measured === 0) {
      // The note says whether they were never measured or too long ago.
      allKnown(context, 'ttftMs', staleMsMax);
      writeLoads(context, out);
      scoreLeast(context, out);
      return;
    }
    if (explore(context, out)) return;
    const ttft = candidates.values('ttftMs');
    const tpot = candidates.values('tpotMs');
    let perToken = true;
    for (let i = 0; i < candidates.count; i++) {
      if (keep[i] !== 0 && out[i] === 1 && Number.isNaN(tpot[i])) perToken = false;
    }
    if (!perToken) context.notes.add('unknown:tpotMs');
    const inflight = candidates.values('inflight');
    const measuredInflight = candidates.values('measuredInflight');
    const tokens = perToken ? outputTokensOf(context, params['outputTokens'] as number) : 0;
    for (let i = 0; i < candidates.count; i++) {
      if (Number.isNaN(out[i])) continue;
      const measuredMs = (ttft[i] as number) + (tokens > 0 ? tokens * (tpot[i] as number) : 0);
      const grown = ((inflight[i] as number) + 1) / ((measuredInflight[i] as number) + 1);
      // What was sent since the measuring is not in it yet; without this the fastest would be flooded until it tells.
      out[i] = grown > 1 ? measuredMs * grown : measuredMs;
    }
    scoreLeast(context, out);
  },
};
