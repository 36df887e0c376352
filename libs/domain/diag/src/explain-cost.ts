import type { route } from '#libs/contracts';

/** What a request cost. */
export interface CostExplanation {
  /** "nothing" where no replica served it; "unpriced" where one did and nobody knows what it cost. */
  readonly state: 'priced' | 'unpriced' | 'nothing';
  /** Billionths of the currency; null unless priced. */
  readonly nano: number | null;
  readonly currency: string;
  /** Sequence of the commit that set the prices; 0 unless priced. */
  readonly priceSeq: number;
}

/** As the ledger counts them: outcomes of which somebody owes something once a replica has answered. */
const servedOutcomes: ReadonlySet<string> = new Set(['completed', 'upstream_broken', 'client_gone']);

/** What is known of a request's cost decides between unpriced and nothing: its tokens were counted, or a replica served it. */
export const costState = (request: {
  readonly costNano: number | null;
  readonly counted: boolean;
  readonly answered: boolean;
  readonly outcome: string;
}): CostExplanation['state'] => {
  if (request.costNano !== null) return 'priced';
  return request.counted || (request.answered && servedOutcomes.has(request.outcome)) ? 'unpriced' : 'nothing';
};

export function explainCost(
  { priceSeq, costNano, currency }: route.DecisionRecord,
  served: { readonly counted: boolean; readonly answered: boolean; readonly outcome: string },
): CostExplanation {
  const nano = priceSeq > 0 && Number.isSafeInteger(costNano) && costNano >= 0 ? costNano : null;
  const state = costState({ ...served, costNano: nano });
  return state === 'priced' ? { state, nano, currency, priceSeq } : { state, nano: null, currency: '', priceSeq: 0 };
}
