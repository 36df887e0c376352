import { fromBinary } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import type { ReplayCounts, ReplayDifference, ReplayLine } from '#libs/domain/diag';
import { reexecute } from '#libs/domain/route';
import { errorText } from '#libs/kernel';
import type { Core } from '../core.ts';
import type { Lines } from '../http/lines.ts';
import { limits } from '../limits.ts';
import { Slices } from '../slices.ts';
import { decodeFrame, frameSeqAtTime } from './read-frames.ts';
import { timeOf } from './moments.ts';

export interface ReplayOptions {
  readonly since?: string | undefined;
  readonly until?: string | undefined;
  /** Records executed at most, the oldest of the range first. */
  readonly limit?: number | undefined;
}

interface Range {
  readonly sinceMs: number;
  readonly untilMs: number;
}

type Counts = { -readonly [K in keyof ReplayCounts]: ReplayCounts[K] };

/** Frames are stored after their records were received: a clock may be off by this much and nothing is overlooked. */
const clockSkewMsMax = 60_000;

/** Executes each record again, counts, and tells what is not as it was. */
class Replay {
  readonly counts: Counts = {
    records: 0,
    picksFree: 0,
    equal: 0,
    different: 0,
    missingPlugin: 0,
    unreadable: 0,
  };
  readonly missingPlugins: Record<string, number> = {};
  first: ReplayDifference | undefined;
  readonly #slices: Slices;
  #saidMs: number;

  constructor(
    private readonly core: Core,
    private readonly lines: Lines,
    private readonly recordsMax: number,
  ) {
    this.#slices = new Slices(core.environment.timers);
    this.#saidMs = core.environment.clock.monotonicMs();
  }

  get full(): boolean {
    return this.counts.records >= this.recordsMax;
  }

  /** False when nobody listens any more or the bound is reached. */
  async take(frame: route.RecordFrame, index: number, seq: number): Promise<boolean> {
    const record = frame.records[index] as route.DecisionRecord;
    this.counts.records++;
    const result = reexecute(frame, index);
    if (result.equal) {
      if (result.picks === 0) this.counts.picksFree++;
      else this.counts.equal++;
    } else if (result.missingPlugin !== undefined) await this.#missing(result.missingPlugin, record.requestId);
    else if (result.invalid !== undefined) await this.unreadable(seq, `request ${record.requestId}: ${result.invalid}`);
    else {
      const { pick = 0, field = '', recorded = '', executed = '' } = result.difference ?? {};
      const text = `pick ${pick}: ${field} was ${recorded}, is ${executed} when executed again`;
      await this.#different({ requestId: record.requestId, receivedAtMs: record.receivedAtMs, text });
    }
    await this.#slices.next();
    await this.#progress();
    return !this.lines.signal.aborted && !this.full;
  }

  async unreadable(seq: number, text: string): Promise<void> {
    if (++this.counts.unreadable <= limits.unreadableShownMax) await this.#write({ kind: 'unreadable', seq, text });
  }

  async #different(difference: ReplayDifference): Promise<void> {
    this.first ??= difference;
    if (++this.counts.different <= limits.differencesShownMax) await this.#write({ kind: 'difference', ...difference });
  }

  async #missing(plugin: string, requestId: string): Promise<void> {
    this.counts.missingPlugin++;
    const before = this.missingPlugins[plugin] ?? 0;
    this.missingPlugins[plugin] = before + 1;
    if (before === 0) await this.#write({ kind: 'missing-plugin', plugin, requestId });
  }

  async #progress(): Promise<void> {
    const nowMs = this.core.environment.clock.monotonicMs();
    if (nowMs - this.#saidMs < limits.progressMs) return;
    this.#saidMs = nowMs;
    await this.#write({ kind: 'progress', ...this.counts });
  }

  async #write(line: ReplayLine): Promise<void> {
    await this.lines.write(line);
  }
}

/** Decides every request of the range again from its record alone, and compares. */
export async function replay(core: Core, options: ReplayOptions, lines: Lines): Promise<void> {
  const { clock } = core.environment;
  const startedMs = clock.monotonicMs();
  const range = {
    sinceMs: options.since === undefined ? 0 : await timeOf(core, options.since),
    untilMs: options.until === undefined ? Infinity : await timeOf(core, options.until),
  };
  const run = new Replay(core, lines, options.limit ?? Infinity);
  const notes: string[] = [];
  const source = await fromBestSource(core, range, run, notes);
  if (lines.signal.aborted) return;
  const { different, missingPlugin, unreadable } = run.counts;
  const done: ReplayLine = {
    kind: 'done',
    durability: core.broker.durability,
    source,
    note: notes.join('; '),
    ok: different === 0 && missingPlugin === 0 && unreadable === 0,
    ...(run.first === undefined ? {} : { first: run.first }),
    missingPlugins: run.missingPlugins,
    durationMs: clock.monotonicMs() - startedMs,
    ...run.counts,
  };
  await lines.write(done);
}

async function fromBestSource(core: Core, range: Range, run: Replay, notes: string[]): Promise<'postgres' | 'frames'> {
  if (core.projector.readers === undefined) {
    notes.push(`${core.projector.why}: executed from the frames, which are kept for days`);
    await fromFrames(core, range, run, await core.broker.frames.firstSeq());
    return 'frames';
  }
  let position: number;
  try {
    position = await fromPostgres(core, range, run, notes);
  } catch (thrown) {
    // Midway the counts would no longer be of one source: only a beginning may turn elsewhere.
    if (run.counts.records > 0) throw thrown;
    notes.push(`Postgres could not answer (${errorText(thrown)}): executed from the frames, which are kept for days`);
    await fromFrames(core, range, run, await core.broker.frames.firstSeq());
    return 'frames';
  }
  if (run.full) return 'postgres';
  try {
    const behind = (await core.broker.frames.lastSeq()) - position;
    if (behind <= 0) return 'postgres';
    const before = run.counts.records;
    await fromFrames(core, range, run, position + 1);
    if (run.counts.records > before) {
      notes.push(
        `${run.counts.records - before} newest records came from the frames: Postgres is ${behind} frames behind`,
      );
    }
  } catch (thrown) {
    notes.push(`what Postgres does not hold yet could not be read: ${errorText(thrown)}`);
  }
  return 'postgres';
}

/** Answers up to which frame the rows reach. */
async function fromPostgres(core: Core, range: Range, run: Replay, notes: string[]): Promise<number> {
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
        run.counts.records++;
        await run.unreadable(streamSeq, `request ${requestId}: ${errorText(thrown)}`);
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
    notes.push(`${gaps.length} gaps are known in the records of this time: what is in them was not executed`);
  return position;
}

async function fromFrames(core: Core, range: Range, run: Replay, firstSeq: number): Promise<void> {
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
