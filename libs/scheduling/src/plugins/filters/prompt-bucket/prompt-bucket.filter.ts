import type { Filter } from '../../../contract.ts';
import { inBucket, roleBits, rolesOf } from '../../../pairing.ts';
import { paramsOf } from '../../../param-spec.ts';

export const promptBucket: Filter = {
  kind: 'filter',
  type: 'prompt-bucket',
  version: 1,
  stability: 'experimental',
  reads: ['promptTokensMin', 'promptTokensMax', 'roles'],
  params: paramsOf('prompt-bucket', {}),
  /** Keeps those that are for prompts of this length; all where none of them could answer. */
  filter(context) {
    const { candidates, keep, notes } = context;
    let outside = 0;
    let answering = 0;
    for (let i = 0; i < candidates.count; i++) {
      if (keep[i] === 0) continue;
      if (!inBucket(context, i)) outside++;
      else if ((rolesOf(candidates, i) & (roleBits.decode | roleBits.whole)) !== 0) answering++;
    }
    if (outside === 0) return;
    if (answering === 0) {
      notes.add('no-bucket');
      return;
    }
    for (let i = 0; i < candidates.count; i++) if (!inBucket(context, i)) keep[i] = 0;
  },
};
