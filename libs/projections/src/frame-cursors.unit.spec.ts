import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Row } from '#libs/projections';
import { applyChanges, Changes, cursorTable, gapTable } from '#libs/projections';
import { FrameCursors } from './frame-cursors.ts';

/** Feeds frame numbers in batches, restarting from the stored rows between them. */
function feed(batches: readonly (readonly number[])[]): { gaps: number[]; seenTwice: number } {
  const cursors = new Map<string, Row>();
  const gaps = new Map<string, Row>();
  let streamSeq = 0;
  let seenTwice = 0;
  for (const batch of batches) {
    const changes = new Changes();
    const fold = new FrameCursors([...cursors.values()]);
    for (const frameSeq of batch) {
      streamSeq++;
      if (!fold.see({ gatewayId: 'g', bootId: 'b', frameSeq, streamSeq, noticedAtMs: 1 }, changes)) seenTwice++;
    }
    applyChanges(cursors, changes.tables.get(cursorTable) ?? new Map());
    applyChanges(gaps, changes.tables.get(gapTable) ?? new Map());
  }
  const missing = [...gaps.values()].flatMap((gap) => {
    const first = gap['first_frame_seq'] as number;
    return Array.from({ length: (gap['last_frame_seq'] as number) - first + 1 }, (_, index) => first + index);
  });
  return { gaps: missing.sort((a, b) => a - b), seenTwice };
}

test('L8 gaps are exactly the numbers that did not arrive, in any order, with repeats and restarts', () => {
  fc.assert(
    fc.property(fc.array(fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }), { minLength: 1 }), (batches) => {
      const arrived = new Set(batches.flat());
      const last = Math.max(...arrived);
      const missing = Array.from({ length: last }, (_, index) => index + 1).filter((number) => !arrived.has(number));
      const { gaps, seenTwice } = feed(batches);
      expect(gaps).toEqual(missing);
      expect(seenTwice).toBe(batches.flat().length - arrived.size);
    }),
  );
});

test('holes are bounded: the oldest stays in the table, and a late frame in it is taken as seen', () => {
  const every = Array.from({ length: 200 }, (_, index) => 2 * (index + 1));
  expect(feed([every]).gaps.length).toBe(200);
  expect(feed([every, [1]])).toMatchObject({ seenTwice: 1 });
});
