import type { Picker } from '../../../contract.ts';
import { nthKept, keptCount } from '../../../kept.ts';
import { paramsOf } from '../../../param-spec.ts';

export const random: Picker = {
  kind: 'picker',
  type: 'random',
  version: 1,
  stability: 'stable',
  reads: [],
  params: paramsOf('random', {}),
  /** Uniform over the kept ones, by the seed. */
  pick(context) {
    return nthKept(context, Math.floor(context.rng.next() * keptCount(context)));
  },
};
