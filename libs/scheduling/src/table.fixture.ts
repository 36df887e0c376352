import { CandidateTable } from './candidate-table.ts';
import type { Column, RequestFeatures } from './contract.ts';

export type Row = { readonly id?: string } & {
  readonly [C in Column]?: number | readonly [value: number, ageMs: number];
};

/** A table from rows; ids default to r0, r1, …; a pair is a value with its age. */
export function table(...rows: readonly Row[]): CandidateTable {
  const made = new CandidateTable();
  for (const [index, { id, ...values }] of rows.entries()) {
    made.add(id ?? `r${index}`);
    for (const [column, given] of Object.entries(values)) {
      const [value, ageMs] = typeof given === 'number' ? [given, 0] : (given as readonly [number, number]);
      made.set(index, column as Column, value, ageMs);
    }
  }
  return made;
}

export function request(given: Partial<RequestFeatures> = {}): RequestFeatures {
  return {
    bodyBytes: 0,
    promptTokens: 0,
    promptTokensExact: false,
    maxTokens: 0,
    sessionHash: 0,
    prefixBlocks: 0,
    sloTtftMs: 0,
    sloTpotMs: 0,
    ...given,
  };
}
