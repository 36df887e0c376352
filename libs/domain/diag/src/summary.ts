import { choiceSentence } from './explain-choice.ts';
import type { CandidateExplanation, PickExplanation, RequestExplanation } from './explain-request.ts';

const score = (value: number | null): string => (value === null ? 'unknown' : value.toFixed(3));

function byTotal(a: CandidateExplanation, b: CandidateExplanation): number {
  return (b.total ?? -1) - (a.total ?? -1);
}

function pickSentence(pick: PickExplanation): string {
  const { candidates, chosen, partner } = pick;
  const removed = candidates.filter(({ filteredBy, replicaId }) => filteredBy !== null && replicaId !== partner).length;
  const policy = pick.policyId === '' ? 'the built-in default' : `policy ${pick.policyId} v${pick.policyVersion}`;
  const field = `${candidates.length} candidate${candidates.length === 1 ? '' : 's'}`;
  if (chosen === null)
    return `None of ${field} could be chosen by ${pick.strategy} (${policy}): ${removed} filtered out.`;
  const winner = candidates.find((candidate) => candidate.chosen);
  const next = candidates.filter((candidate) => !candidate.chosen && candidate.filteredBy === null).sort(byTotal)[0];
  const against = next === undefined ? '' : `, next ${next.replicaId} with ${score(next.total)}`;
  const points = winner?.total === null || winner === undefined ? '' : ` with ${score(winner.total)}`;
  const out = removed === 0 ? '' : `; ${removed} filtered out`;
  const who = partner === null ? `${chosen} was` : `${partner} for the prompt and ${chosen} for the answer were`;
  return `${who} chosen of ${field} by ${pick.strategy} (${policy})${points}${against}${out}.`;
}

/** The answer to `why` in a sentence or two. */
export function summarize(request: RequestExplanation): string {
  const { picks, attempts, outcome, httpStatus, errorCode } = request;
  const last = picks.at(-1);
  const decided = last === undefined ? 'No replica was asked for.' : pickSentence(last);
  const tries = attempts.length > 1 ? ` It took ${attempts.length} attempts.` : '';
  const code = errorCode === '' ? '' : `, ${errorCode}`;
  const led = request.modelChoice == null ? '' : `${choiceSentence(request.modelChoice)} `;
  return `${led}${decided}${tries} Outcome: ${outcome} (HTTP ${httpStatus}${code}).`;
}
