import { fromBinary } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import { errorText } from '#libs/kernel';
import type { Core } from '../core.ts';
import { limits } from '../limits.ts';
import { decodeFrame, frameSeqAtTime } from './read-frames.ts';

export interface RecordRange {
  readonly sinceMs: number;
  /** Infinity is no end. */
  readonly untilMs: number;
}

export interface RecordVisitor {
  /** So many came. */
  readonly taken: number;
  /** It has what it wants. */
  readonly full: boolean;
  /** False stops. */
  take(frame: route.RecordFrame, index: number, seq: number): Promise<boolean>;
  unreadable(seq: number, text: string, records?: number): Promise<void>;
}

/** Frames are stored after their records were received: a clock may be off by this much and nothing is overlooked. */
const clockSkewMsMax = 60_000;

/** Every record of the range, oldest first: from Postgres, and what it does not hold yet, or all where it is away, from the frames. */
export async function eachRecord(
  core: Core,
  range: RecordRange,
  run: RecordVisitor,
  notes: string[],
): Promise<'postgres' | 'frames'> {
  if (core.projector.readers === undefined) {
    notes.push(`${core.projector.why}: read from the frames, which are kept for days`);
    await fromFrames(core, range, run, await core.broker.frames.firstSeq());
    return 'frames';
  }
  let position: number;
  try {
    position = await fromPostgres(core, range, run, notes);
  } catch (thrown) {
    // Midway the counts would no longer be of one source: only a beginning may turn elsewhere.
    if (run.taken > 0) throw thrown;
    notes.push(`Postgres could not answer (${errorText(thrown)}): read from the frames, which are kept for days`);
    await fromFrames(core, range, run, await core.broker.frames.firstSeq());
    return 'frames';
  }
  if (run.full) return 'postgres';
  try {
    const behind = (await core.broker.frames.lastSeq()) - position;
    if (behind <= 0) return 'postgres';
    const before = run.taken;
    await fromFrames(core, range, run, position + 1);
    if (run.taken > before) {
      notes.push(`${run.taken - before} newest records came from the frames: Postgres is ${behind} frames behind`);
    }
  } catch (thrown) {
    notes.push(`what Postgres does not hold yet could not be read: ${errorText(thrown)}`);
  }
  return 'postgres';
}

/** Answers up to which frame the rows reach. */
async function fromPostgres(core: Core, range: RecordRange, run: RecordVisitor, notes: string[]): Promise<number> {
  const { requests, checkpoints } = core.projector.readers as NonNullable<typeof core.projector.readers>;
  const checkpoint = await checkpoints.live('requests');
  if (checkpoint?.stale === true) notes.push(`the rows are stale: ${checkpoint.haltedReason ?? checkpoint.state}`);
  let position = checkpoint?.seq ?? 0;
  const bounds = { sinceMs: range.sinceMs, ...(range.untilMs === Infinity ? {} : { untilMs: range.untilMs }) };
  await requests.eachPage(bounds, async (page) => {
    for (const { record: bytes, streamSeq, requestId } of page) {
      position = Math.max(position, streamSeq);
      let frame: route.RecordFrame;
      try {
        frame = fromBinary(route.RecordFrameSchema, bytes);
      } catch (thrown) {
        await run.unreadable(streamSeq, `request ${requestId}: ${errorText(thrown)}`, 1);
        continue;
      }
      if (!(await run.take(frame, 0, streamSeq))) return false;
    }
    return true;
  });
  const gaps = (await requests.gaps(limits.listRowsMax)).filter(
    ({ noticedAtMs }) => noticedAtMs >= range.sinceMs && noticedAtMs <= range.untilMs + clockSkewMsMax,
  );
  if (gaps.length > 0)
    notes.push(`${gaps.length} gaps are known in the records of this time: what is in them is not here`);
  return position;
}

async function fromFrames(core: Core, range: RecordRange, run: RecordVisitor, firstSeq: number): Promise<void> {
  const { frames } = core.broker;
  const lastSeq = await frames.lastSeq();
  const since = range.sinceMs === 0 ? 0 : await frameSeqAtTime(frames, range.sinceMs - clockSkewMsMax);
  const fromSeq = Math.max(firstSeq, since);
  if (fromSeq > lastSeq) return;
  for await (const stored of frames.read({ fromSeq, toSeq: lastSeq })) {
    const frame = decodeFrame(stored);
    if (typeof frame === 'string') {
      await run.unreadable(stored.seq, frame);
      continue;
    }
    for (const [index, { receivedAtMs }] of frame.records.entries()) {
      if (receivedAtMs < range.sinceMs || receivedAtMs >= range.untilMs) continue;
      if (!(await run.take(frame, index, stored.seq))) return;
    }
  }
}
