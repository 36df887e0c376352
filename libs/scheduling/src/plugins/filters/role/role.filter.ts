import type { Filter, PickContext } from '../../../contract.ts';
import { canServe, roleBits, rolesOf } from '../../../pairing.ts';
import { paramsOf } from '../../../param-spec.ts';

/** It can answer: alone, or after somebody who is there to compute the prompt for it. */
function answers(context: PickContext, index: number): boolean {
  const { candidates } = context;
  const bits = rolesOf(candidates, index);
  if ((bits & roleBits.whole) !== 0) return true;
  if ((bits & roleBits.decode) === 0) return false;
  for (let other = 0; other < candidates.count; other++) if (canServe(context, other, index)) return true;
  return false;
}

export const role: Filter = {
  kind: 'filter',
  type: 'role',
  version: 1,
  stability: 'experimental',
  reads: ['roles', 'pairGroup', 'promptTokensMin', 'promptTokensMax'],
  params: paramsOf('role', {}),
  /** Keeps those that can answer; where none can, prefill replicas whose engine would do all of it. */
  filter(context) {
    const { candidates, keep, notes } = context;
    let wanted = 0;
    for (let i = 0; i < candidates.count; i++) if (keep[i] !== 0 && answers(context, i)) wanted++;
    if (wanted === 0) notes.add('prefill-alone');
    for (let i = 0; i < candidates.count; i++) {
      const stays = wanted > 0 ? answers(context, i) : (rolesOf(candidates, i) & roleBits.wholeInNeed) !== 0;
      if (!stays) keep[i] = 0;
    }
  },
};
