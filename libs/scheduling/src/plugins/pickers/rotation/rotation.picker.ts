import type { Picker } from '../../../contract.ts';
import { keptCount, nthKept } from '../../../kept.ts';
import { paramsOf } from '../../../param-spec.ts';

export const rotation: Picker = {
  kind: 'picker',
  type: 'rotation',
  version: 1,
  stability: 'stable',
  reads: [],
  params: paramsOf('rotation', {}),
  /** The kept one at position seed mod kept. The caller counts the seed up by one each pick. */
  pick(context) {
    return nthKept(context, context.seed % keptCount(context));
  },
};
