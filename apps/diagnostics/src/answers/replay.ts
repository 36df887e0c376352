import type { route } from '#libs/contracts';
import type { ReplayCounts, ReplayDifference, ReplayLine } from '#libs/domain/diag';
import { reexecute } from '#libs/domain/route';
import type { Core } from '../core.ts';
import type { Lines } from '../http/lines.ts';
import { limits } from '../limits.ts';
import { Slices } from '../slices.ts';
import { timeOf } from './moments.ts';
import type { RecordVisitor } from './read-records.ts';
import { eachRecord } from './read-records.ts';

export interface ReplayOptions {
  readonly since?: string | undefined;
  readonly until?: string | undefined;
  /** Records executed at most, the oldest of the range first. */
  readonly limit?: number | undefined;
}

type Counts = { -readonly [K in keyof ReplayCounts]: ReplayCounts[K] };

/** Executes each record again, counts, and tells what is not as it was. */
class Replay implements RecordVisitor {
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

  get taken(): number {
    return this.counts.records;
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

  /** Counted among the records where it is a row, which is one; a frame holds nobody knows how many. */
  async unreadable(seq: number, text: string, records = 0): Promise<void> {
    this.counts.records += records;
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
  const source = await eachRecord(core, range, run, notes);
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
