import type { Candidates, PickContext } from './contract.ts';

/** Bits of the column `roles`. */
export const roleBits = { prefill: 1, decode: 2, whole: 4, wholeInNeed: 8 } as const;

/** What a candidate may do of the request. One that belongs to no role set does all of it. */
export function rolesOf(candidates: Candidates, index: number): number {
  const bits = candidates.values('roles')[index] as number;
  return Number.isNaN(bits) ? roleBits.whole : bits;
}

/** The prompt is of a length that the candidate is for; one that says nothing is for all. */
export function inBucket({ candidates, request }: PickContext, index: number): boolean {
  const least = candidates.values('promptTokensMin')[index] as number;
  const most = candidates.values('promptTokensMax')[index] as number;
  // Written so that an unknown bound bounds nothing.
  return !(request.promptTokens < least) && !(request.promptTokens >= most);
}

/** Candidate `prefill` can compute the prompt for candidate `decode`. */
export function canServe(context: PickContext, prefill: number, decode: number): boolean {
  const { candidates } = context;
  if (prefill === decode || (rolesOf(candidates, prefill) & roleBits.prefill) === 0) return false;
  if ((rolesOf(candidates, decode) & roleBits.decode) === 0) return false;
  const groups = candidates.values('pairGroup');
  return groups[prefill] === groups[decode] && inBucket(context, prefill);
}
