import type { route } from '#libs/contracts';
import { CodedError } from '#libs/kernel';
import type { CandidateTable, Column } from '#libs/scheduling';
import { columns } from '#libs/scheduling';

const broken = (what: string): CodedError =>
  new CodedError('ROUTE_RECORD_INVALID', `the record ${what}`, {
    advice: 'It was damaged or written by something else: run lintel verify.',
  });

/** The record at this index of a frame. @throws ROUTE_RECORD_INVALID */
export function recordAt(frame: route.RecordFrame, index: number): route.DecisionRecord {
  const record = frame.records[index];
  if (record === undefined) throw broken(`${index} is not in its frame of ${frame.records.length}`);
  return record;
}

/** @throws ROUTE_RECORD_INVALID */
export function replicaIdAt(frame: route.RecordFrame, index: number): string {
  const id = frame.replicaIds[index];
  if (id === undefined) throw broken(`names replica ${index} of ${frame.replicaIds.length}`);
  return id;
}

/** @throws ROUTE_RECORD_INVALID */
export function pipelineAt(frame: route.RecordFrame, pick: route.Pick): route.Pipeline {
  const pipeline = frame.pipelines[pick.pipeline];
  if (pipeline === undefined) throw broken(`names pipeline ${pick.pipeline} of ${frame.pipelines.length}`);
  return pipeline;
}

const isColumn = (name: string): name is Column => (columns as readonly string[]).includes(name);

/** Fills `table` with the candidates as the scheduler saw them. Columns of a later version are left out. @throws ROUTE_RECORD_INVALID */
export function candidatesOf(frame: route.RecordFrame, pick: route.Pick, table: CandidateTable): CandidateTable {
  table.reset();
  const width = pick.columns.length;
  const cells = pick.candidates.length * width;
  if (pick.values.length !== cells || pick.agesMs.length !== cells)
    throw broken('has values of another shape than its columns');
  for (const [row, replica] of pick.candidates.entries()) {
    const index = table.add(replicaIdAt(frame, replica));
    for (const [place, name] of pick.columns.entries()) {
      const cell = row * width + place;
      if (isColumn(name)) table.set(index, name, pick.values[cell] as number, pick.agesMs[cell] as number);
    }
  }
  return table;
}

/** What this pick read of its request: of the stage of its model where that says so, else the record's. */
export function featuresAt(record: route.DecisionRecord, pick: number): route.RequestFeatures | undefined {
  const looks = record.modelChoice?.looks ?? [];
  const taken = looks.findLast((look) => look.taken && look.pick <= pick);
  return taken?.features ?? record.features;
}
