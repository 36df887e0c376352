import type { route } from '#libs/contracts';
import type { CalibrationAnswer } from '#libs/domain/diag';
import { Calibration } from '#libs/domain/diag';
import type { Core } from '../core.ts';
import { limits } from '../limits.ts';
import { Slices } from '../slices.ts';
import { timeOf } from './moments.ts';
import type { RecordVisitor } from './read-records.ts';
import { eachRecord } from './read-records.ts';

export interface CalibrationOptions {
  readonly since?: string | undefined;
  readonly until?: string | undefined;
  readonly model?: string | undefined;
  /** Records read at most, the oldest of the range first. */
  readonly limit: number;
}

class Fold implements RecordVisitor {
  readonly calibration = new Calibration();
  taken = 0;
  unread = 0;
  readonly #slices: Slices;

  constructor(
    core: Core,
    private readonly model: string | undefined,
    private readonly recordsMax: number,
  ) {
    this.#slices = new Slices(core.environment.timers);
  }

  get full(): boolean {
    return this.taken >= this.recordsMax;
  }

  async take(frame: route.RecordFrame, index: number): Promise<boolean> {
    this.taken++;
    const record = frame.records[index] as route.DecisionRecord;
    if (this.model === undefined || record.model === this.model) this.calibration.add(record);
    await this.#slices.next();
    return !this.full;
  }

  unreadable(): Promise<void> {
    this.unread++;
    return Promise.resolve();
  }
}

/** What was foretold of requests when they were sent, against what came of them. */
export async function tellCalibration(core: Core, options: CalibrationOptions): Promise<CalibrationAnswer> {
  const sinceMs =
    options.since === undefined
      ? core.environment.clock.nowMs() - limits.calibrationMsDefault
      : await timeOf(core, options.since);
  const untilMs = options.until === undefined ? Infinity : await timeOf(core, options.until);
  const fold = new Fold(core, options.model, options.limit);
  const notes: string[] = [];
  const source = await eachRecord(core, { sinceMs, untilMs }, fold, notes);
  if (fold.full)
    notes.push(
      `only the ${fold.taken} oldest records of this time were read: ask for a shorter time, or for a higher limit`,
    );
  if (fold.unread > 0) notes.push(`${fold.unread} rows or frames could not be read`);
  if (fold.calibration.unnamed > 0) notes.push(`${fold.calibration.unnamed} records were of yet other models`);
  return {
    durability: core.broker.durability,
    source,
    records: fold.taken,
    sinceMs,
    untilMs: untilMs === Infinity ? null : untilMs,
    items: fold.calibration.items(),
    note: notes.join('; '),
  };
}
