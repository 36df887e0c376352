import { create } from '@bufbuild/protobuf';
import { describe, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import { CandidateTable, canonicalJson, compilePipeline, pipelineHash, resolveStrategy } from '#libs/scheduling';
import { explain } from './explain.ts';
import { reexecute } from './reexecute.ts';

const features = {
  bodyBytes: 1,
  promptTokens: 9,
  promptTokensExact: false,
  maxTokens: 0,
  sessionHash: 0,
  prefixBlocks: 4,
  sloTtftMs: 0,
  sloTpotMs: 0,
};

/** A frame of one record with one pick among three replicas, the last of which is crowded. */
function frame(): route.RecordFrame {
  const spec = resolveStrategy('prefix-cache');
  const compiled = compilePipeline(spec);
  const table = new CandidateTable();
  const rows = [
    [1, 1, 0],
    [2, 3, 40],
    [30, 4, 40],
  ] as const;
  for (const [index, [inflight, prefixBlocks, ageMs]] of rows.entries()) {
    table.add(`r${index}`);
    table.set(index, 'inflight', inflight, ageMs);
    table.set(index, 'prefixBlocks', prefixBlocks);
  }
  const { count, chosen, filteredBy, scores, totals, notes } = compiled.decide(features, table, 5);
  const { reads } = compiled;
  const cells = <T>(read: (column: (typeof reads)[number], row: number) => T): T[] =>
    rows.flatMap((_, row) => reads.map((column) => read(column, row)));
  return create(route.RecordFrameSchema, {
    replicaIds: ['r0', 'r1', 'r2'],
    pipelines: [
      {
        json: canonicalJson(spec),
        hash: pipelineHash(spec),
        strategy: 'prefix-cache',
        policyId: 'p',
        policyVersion: 2,
        policySeq: 8,
      },
    ],
    records: [
      {
        requestId: 'q',
        features,
        picks: [
          {
            seed: 5,
            candidates: [0, 1, 2],
            columns: [...reads],
            values: cells((column, row) => table.values(column)[row] as number),
            agesMs: cells((column, row) => table.agesMs(column)[row] as number),
            filteredBy: [...filteredBy.subarray(0, count)],
            scores: [...scores.subarray(0, count)],
            totals: [...totals.subarray(0, count)],
            chosen: chosen + 1,
            notes: [...notes],
          },
        ],
      },
      { requestId: 'refused' },
    ],
  });
}

describe('reexecute', () => {
  test('L15 gives the recorded decision again', () => {
    expect(reexecute(frame(), 0)).toEqual({ equal: true, picks: 1 });
    expect(reexecute(frame(), 1)).toEqual({ equal: true, picks: 0 });
  });

  type Change = (pick: route.Pick, frame: route.RecordFrame) => void;
  test.each<[string, Change, object]>([
    ['another choice', (pick) => (pick.chosen = 3), { difference: { field: 'chosen', recorded: '2', executed: '0' } }],
    ['another score', (pick) => (pick.scores[0] = 0.5), { difference: { field: 'scores[0]', recorded: '0.5' } }],
    ['another filter', (pick) => (pick.filteredBy[0] = 1), { difference: { field: 'filteredBy[0]' } }],
    ['another value', (pick) => (pick.values[0] = 29), { equal: false }],
    ['fewer totals', (pick) => pick.totals.pop(), { difference: { field: 'totals' } }],
    ['another note', (pick) => pick.notes.push('x'), { difference: { field: 'notes', recorded: 'imbalance x' } }],
    ['another pipeline', (_, { pipelines }) => (pipelines[0]!.hash = '00'), { difference: { field: 'pipeline' } }],
    ['values missing', (pick) => pick.values.pop(), { invalid: expect.stringContaining('shape') }],
    [
      'a replica missing',
      (_, changed) => (changed.replicaIds.length = 1),
      { invalid: expect.stringContaining('names replica') },
    ],
    ['a pipeline missing', (pick) => (pick.pipeline = 9), { invalid: expect.stringContaining('names pipeline') }],
  ])('%s is caught', (_name, change, expected) => {
    const changed = frame();
    change(changed.records[0]!.picks[0]!, changed);
    expect(reexecute(changed, 0)).toMatchObject({ equal: false, ...expected });
  });

  test('L15 a plugin version that is no longer present is said, never guessed', () => {
    const changed = frame();
    const spec = resolveStrategy('prefix-cache');
    const old = { ...spec, picker: { ...spec.picker, version: 99 } };
    Object.assign(changed.pipelines[0]!, { json: canonicalJson(old), hash: pipelineHash(old) });
    expect(reexecute(changed, 0)).toEqual({ equal: false, picks: 0, missingPlugin: 'picker best@99' });
  });

  test('a record that is not there is said', () => expect(reexecute(frame(), 7).invalid).toContain('not in its frame'));
});

test('explain says who was removed by what, who lost and by how much', () => {
  const [pick] = explain(frame(), 0);
  expect(pick).toMatchObject({
    chosen: 'r0',
    policyId: 'p',
    policyVersion: 2,
    policySeq: 8,
    strategy: 'prefix-cache',
    notes: ['imbalance'],
  });
  expect(pick?.plugins).toEqual([
    'load-imbalance@1 inflightGapMax=16',
    'load-band@1 factor=1',
    'prefix-hit@1 relative=false',
    'best@1',
  ]);
  expect(pick?.candidates.map(({ replicaId, filteredBy, total }) => [replicaId, filteredBy, total])).toEqual([
    ['r0', undefined, 0.25],
    ['r1', 'load-imbalance', undefined],
    ['r2', 'load-imbalance', undefined],
  ]);
  expect(pick?.candidates[1]?.values).toEqual([
    { column: 'inflight', value: 2, ageMs: 40 },
    { column: 'prefixBlocks', value: 3, ageMs: 0 },
  ]);
  expect(pick?.margin).toBeUndefined();
});
