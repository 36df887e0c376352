import type { Moment } from '#libs/domain/diag';
import { parseMoment } from '#libs/domain/diag';
import { CodedError } from '#libs/kernel';
import type { Core } from '../core.ts';
import { commitAt, seqAtTime } from './read-log.ts';

/** Where in the log a moment is, and when the commit there was stored. @throws MOMENT_INVALID */
export async function placeOf(core: Core, text: string): Promise<{ seq: number; storedAtMs: number | null }> {
  const { broker, environment } = core;
  const moment: Moment = parseMoment(text, environment.clock.nowMs());
  const lastSeq = await broker.log.lastSeq();
  if (moment.kind === 'seq' && moment.seq > lastSeq) {
    throw new CodedError('MOMENT_INVALID', `the log ends at ${lastSeq}`, {
      advice: 'Give a sequence up to there, or a time.',
    });
  }
  const seq = moment.kind === 'seq' ? moment.seq : await seqAtTime(broker.log, moment.atMs);
  return { seq, storedAtMs: (await commitAt(broker.log, seq))?.storedAtMs ?? null };
}

/** A moment as a time: of a sequence, when that commit was stored. @throws MOMENT_INVALID */
export async function timeOf(core: Core, text: string): Promise<number> {
  const moment = parseMoment(text, core.environment.clock.nowMs());
  if (moment.kind === 'time') return moment.atMs;
  const { storedAtMs } = await placeOf(core, text);
  return storedAtMs ?? 0;
}
