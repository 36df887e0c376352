import type { PickContext } from './contract.ts';

/** How many candidates may still be chosen. */
export function keptCount(context: PickContext): number {
  let kept = 0;
  for (let i = 0; i < context.candidates.count; i++) kept += context.keep[i] as number;
  return kept;
}

/** Index of the kept candidate at this position (0 is the first kept), or -1. */
export function nthKept(context: PickContext, position: number): number {
  let left = position;
  for (let i = 0; i < context.candidates.count; i++) {
    if (context.keep[i] === 0) continue;
    if (left === 0) return i;
    left--;
  }
  return -1;
}
