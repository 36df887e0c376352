import type { route } from '#libs/contracts';
import { CodedError, errorText } from '#libs/kernel';
import type { CompiledPipeline, Decision, PipelineSpec } from '#libs/scheduling';
import { CandidateTable, parsePipeline, pipelineHash, PluginMissing, Scheduler } from '#libs/scheduling';
import { recheckChoice } from './model-choice.ts';
import { candidatesOf, featuresAt, pipelineAt, recordAt } from './recorded-pick.ts';

/** The first place where the record and its re-execution part. */
export interface Difference {
  /** Index into picks. */
  readonly pick: number;
  /** "chosen", "partner", "filteredBy[2]", "scores[4]", "totals[0]", "notes", "pipeline". */
  readonly field: string;
  readonly recorded: string;
  readonly executed: string;
}

export interface Reexecution {
  readonly equal: boolean;
  /** Picks that were executed again: 0 for a request that was refused before any pick. */
  readonly picks: number;
  readonly difference?: Difference;
  /** "scorer load@3": this build cannot execute the record. */
  readonly missingPlugin?: string;
  /** The record cannot be read: what is wrong with it. */
  readonly invalid?: string;
}

const scheduler = new Scheduler();
/** Filled anew for each pick: a replay of many records makes none of its own. */
const table = new CandidateTable();

interface ReadPipeline {
  readonly spec: PipelineSpec;
  /** As this build would write it. */
  readonly hash: string;
}

const pipelinesReadMax = 256;
const pipelinesRead = new Map<string, ReadPipeline>();

/** The same text says the same pipeline: it is read once. @throws SCHEDULING_PIPELINE_INVALID */
function readPipeline(json: string): ReadPipeline {
  const known = pipelinesRead.get(json);
  if (known !== undefined) return known;
  const spec = parsePipeline(json);
  const read = { spec, hash: pipelineHash(spec) };
  if (pipelinesRead.size >= pipelinesReadMax) pipelinesRead.clear();
  pipelinesRead.set(json, read);
  return read;
}

/** Runs decide() again for each pick of a record, with the pipeline, features, candidates and seed that stand in it. */
export function reexecute(frame: route.RecordFrame, recordIndex: number): Reexecution {
  let picks = 0;
  try {
    const record = recordAt(frame, recordIndex);
    if (record.modelChoice !== undefined) {
      const parted = recheckChoice(record.modelChoice);
      if (parted !== undefined)
        return { equal: false, picks, difference: { pick: 0, field: 'modelChoice', ...parted } };
    }
    for (const pick of record.picks) {
      const difference = reexecutePick(frame, record, pick, picks);
      picks++;
      if (difference !== undefined) return { equal: false, picks, difference };
    }
    return { equal: true, picks };
  } catch (thrown) {
    if (thrown instanceof PluginMissing) return { equal: false, picks, missingPlugin: thrown.plugin };
    if (thrown instanceof CodedError) return { equal: false, picks, invalid: errorText(thrown) };
    throw thrown;
  }
}

function reexecutePick(
  frame: route.RecordFrame,
  record: route.DecisionRecord,
  pick: route.Pick,
  index: number,
): Difference | undefined {
  const { json, hash } = pipelineAt(frame, pick);
  const { spec, hash: actualHash } = readPipeline(json);
  if (actualHash !== hash) return { pick: index, field: 'pipeline', recorded: hash, executed: actualHash };
  const compiled = scheduler.compiled(spec);
  const features = featuresAt(record, index);
  if (features === undefined) throw new CodedError('ROUTE_RECORD_INVALID', 'the record has a pick without features');
  const decision = compiled.decide(features, candidatesOf(frame, pick, table), pick.seed);
  const found = firstDifference(pick, decision, compiled);
  return found === undefined ? undefined : { pick: index, ...found };
}

type Found = Omit<Difference, 'pick'>;

function firstDifference(pick: route.Pick, decision: Decision, compiled: CompiledPipeline): Found | undefined {
  const { count } = decision;
  if (pick.chosen !== decision.chosen + 1) {
    return { field: 'chosen', recorded: String(pick.chosen - 1), executed: String(decision.chosen) };
  }
  if (pick.partner !== decision.partner + 1) {
    return { field: 'partner', recorded: String(pick.partner - 1), executed: String(decision.partner) };
  }
  return (
    listDifference('filteredBy', pick.filteredBy, decision.filteredBy, count) ??
    listDifference('scores', pick.scores, decision.scores, count * compiled.width) ??
    listDifference('totals', pick.totals, decision.totals, count) ??
    textDifference('notes', pick.notes.join(' '), decision.notes.join(' '))
  );
}

function listDifference(
  field: string,
  recorded: ArrayLike<number>,
  executed: ArrayLike<number>,
  length: number,
): Found | undefined {
  if (recorded.length !== length) return { field, recorded: `${recorded.length} values`, executed: `${length} values` };
  for (let i = 0; i < length; i++) {
    // Bit for bit, but for the sign of zero, which protobuf's default leaves out.
    if (recorded[i] === executed[i] || (Number.isNaN(recorded[i]) && Number.isNaN(executed[i]))) continue;
    return { field: `${field}[${i}]`, recorded: String(recorded[i]), executed: String(executed[i]) };
  }
  return undefined;
}

const textDifference = (field: string, recorded: string, executed: string): Found | undefined =>
  recorded === executed ? undefined : { field, recorded, executed };
