import type { Picker } from '../../../contract.ts';
import { keptCount, nthKept } from '../../../kept.ts';
import { paramsOf } from '../../../param-spec.ts';

export const twoChoices: Picker = {
  kind: 'picker',
  type: 'two-choices',
  version: 1,
  stability: 'stable',
  reads: [],
  params: paramsOf('two-choices', {}),
  /** Draws two different kept candidates and takes the one with the higher total; the first drawn where they are equal. */
  pick(context, _params, totals) {
    const kept = keptCount(context);
    const first = Math.floor(context.rng.next() * kept);
    if (kept === 1) return nthKept(context, first);
    const drawn = Math.floor(context.rng.next() * (kept - 1));
    const one = nthKept(context, first);
    const other = nthKept(context, drawn < first ? drawn : drawn + 1);
    return (totals[other] as number) > (totals[one] as number) ? other : one;
  },
};
