import type { route } from '#libs/contracts';
import { parsePipeline } from '#libs/scheduling';
import { pipelineAt, recordAt, replicaIdAt } from './recorded-pick.ts';

/** A number as it stood in the record; undefined is unknown. */
type Known = number | undefined;

export interface ExplainedValue {
  readonly column: string;
  readonly value: Known;
  /** 0 is the gateway's own count at that instant. */
  readonly ageMs: Known;
}

export interface ExplainedScore {
  readonly scorer: string;
  readonly weight: number;
  readonly score: Known;
}

export interface ExplainedCandidate {
  readonly replicaId: string;
  readonly chosen: boolean;
  /** Type of the filter that removed it. */
  readonly filteredBy: string | undefined;
  readonly values: readonly ExplainedValue[];
  readonly scores: readonly ExplainedScore[];
  readonly total: Known;
  /** The chosen one's total less this one's: by how much it lost. */
  readonly behind: Known;
}

export interface ExplainedPick {
  readonly strategy: string;
  readonly policyId: string;
  readonly policyVersion: number;
  /** Sequence of the commit that made that version; 0 is the built-in policy. */
  readonly policySeq: number;
  readonly pipelineHash: string;
  /** "load-band@1 factor=2" for each plugin in the order it ran. */
  readonly plugins: readonly string[];
  readonly seed: number;
  readonly chosen: string | undefined;
  /** Who computed the prompt for it. */
  readonly partner: string | undefined;
  /** The chosen one's total less that of the next best kept one; undefined with nobody next. */
  readonly margin: Known;
  /** In the order of evaluation. */
  readonly candidates: readonly ExplainedCandidate[];
  readonly notes: readonly string[];
}

const known = (value: number | undefined): Known => (value === undefined || Number.isNaN(value) ? undefined : value);

/** Each pick of a record in words and numbers, for `lintel why`. @throws ROUTE_RECORD_INVALID, SCHEDULING_PIPELINE_INVALID */
export function explain(frame: route.RecordFrame, recordIndex: number): ExplainedPick[] {
  return recordAt(frame, recordIndex).picks.map((pick) => explainPick(frame, pick));
}

function explainPick(frame: route.RecordFrame, pick: route.Pick): ExplainedPick {
  const { json, hash, strategy, policyId, policyVersion, policySeq } = pipelineAt(frame, pick);
  const { filters, scorers, picker } = parsePipeline(json);
  const best = pick.chosen === 0 ? undefined : known(pick.totals[pick.chosen - 1]);
  const candidates = pick.candidates.map((replica, index): ExplainedCandidate => {
    const total = known(pick.totals[index]);
    const chosen = index === pick.chosen - 1;
    return {
      replicaId: replicaIdAt(frame, replica),
      chosen,
      filteredBy: filters[(pick.filteredBy[index] ?? 0) - 1]?.type,
      values: pick.columns.map((column, place) => {
        const cell = index * pick.columns.length + place;
        return { column, value: known(pick.values[cell]), ageMs: known(pick.agesMs[cell]) };
      }),
      scores: scorers.map(({ type, weight }, place) => ({
        scorer: type,
        weight,
        score: known(pick.scores[index * scorers.length + place]),
      })),
      total,
      behind: chosen || best === undefined || total === undefined ? undefined : best - total,
    };
  });
  const gaps = candidates.flatMap(({ behind }) => behind ?? []);
  return {
    strategy,
    policyId,
    policyVersion,
    policySeq,
    pipelineHash: hash,
    plugins: [...filters, ...scorers, picker].map(({ type, version, params }) =>
      [`${type}@${version}`, ...Object.entries(params).map(([name, value]) => `${name}=${value}`)].join(' '),
    ),
    seed: pick.seed,
    chosen: candidates[pick.chosen - 1]?.replicaId,
    partner: candidates[pick.partner - 1]?.replicaId,
    margin: gaps.length === 0 ? undefined : Math.min(...gaps),
    candidates,
    notes: pick.notes,
  };
}
