import { fromBinary } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import type { FrameStream, StoredFrame } from '#libs/event-log';
import type { Clock } from '#libs/kernel';
import { errorText } from '#libs/kernel';
import { limits } from '../limits.ts';
import { windowsBackwards } from './read-log.ts';

export interface FoundRecord {
  readonly frame: route.RecordFrame;
  readonly index: number;
  readonly record: route.DecisionRecord;
}

export interface FrameSearch {
  readonly found: FoundRecord | undefined;
  readonly scanned: number;
  /** False where the bound ended the search. */
  readonly complete: boolean;
}

/** The frame's message, or why it cannot be read. */
export function decodeFrame(stored: Pick<StoredFrame, 'bytes'>): route.RecordFrame | string {
  try {
    return fromBinary(route.RecordFrameSchema, stored.bytes);
  } catch (thrown) {
    return errorText(thrown);
  }
}

function recordIn(stored: StoredFrame, requestId: string): FoundRecord | undefined {
  const frame = decodeFrame(stored);
  if (typeof frame === 'string') return undefined;
  const index = frame.records.findLastIndex((record) => record.requestId === requestId);
  const record = frame.records[index];
  return record === undefined ? undefined : { frame, index, record };
}

/** Looks for a request from the newest frame backwards, within the bounds. */
export async function findInFrames(frames: FrameStream, requestId: string, clock: Clock): Promise<FrameSearch> {
  const [firstSeq, lastSeq] = [await frames.firstSeq(), await frames.lastSeq()];
  const untilMs = clock.monotonicMs() + limits.scanMsMax;
  // The id stands in the frame's bytes as it is: only a frame that holds them is decoded.
  const needle = Buffer.from(requestId, 'utf8');
  let scanned = 0;
  for (const range of windowsBackwards(lastSeq, firstSeq, limits.framesWindow, limits.framesScannedMax)) {
    let found: FoundRecord | undefined;
    for await (const stored of frames.read(range)) {
      scanned++;
      const { buffer, byteOffset, byteLength } = stored.bytes;
      if (Buffer.from(buffer, byteOffset, byteLength).includes(needle)) found = recordIn(stored, requestId) ?? found;
    }
    if (found !== undefined) return { found, scanned, complete: true };
    if (clock.monotonicMs() > untilMs) return { found: undefined, scanned, complete: range.fromSeq <= firstSeq };
  }
  return { found: undefined, scanned, complete: lastSeq - firstSeq + 1 <= limits.framesScannedMax };
}

/** The newest records that fit, newest first. */
export async function newestRecords(
  frames: FrameStream,
  limit: number,
  fits: (record: route.DecisionRecord) => boolean,
): Promise<FoundRecord[]> {
  const [firstSeq, lastSeq] = [await frames.firstSeq(), await frames.lastSeq()];
  const found: FoundRecord[] = [];
  for (const range of windowsBackwards(lastSeq, firstSeq, limits.framesWindow, limits.framesScannedMax)) {
    const part: FoundRecord[] = [];
    for await (const stored of frames.read(range)) {
      const frame = decodeFrame(stored);
      if (typeof frame === 'string') continue; // counted and told by the requests projection, and by a replay
      for (const [index, record] of frame.records.entries()) if (fits(record)) part.push({ frame, index, record });
    }
    found.push(...part.toReversed());
    if (found.length >= limit) break;
  }
  return found.slice(0, limit);
}

/** The first frame stored at or after a time, by halving; lastSeq + 1 where there is none. */
export async function frameSeqAtTime(frames: FrameStream, atMs: number): Promise<number> {
  let low = await frames.firstSeq();
  let high = (await frames.lastSeq()) + 1;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    let storedAtMs: number | undefined;
    let at = middle;
    // The first one that is still there at or after the middle.
    for await (const stored of frames.read({
      fromSeq: middle,
      toSeq: Math.min(high - 1, middle + limits.framesWindow),
    })) {
      storedAtMs = stored.storedAtMs;
      at = stored.seq;
      break;
    }
    if (storedAtMs === undefined || storedAtMs >= atMs) high = middle;
    else low = Math.max(at, middle) + 1;
  }
  return low;
}
