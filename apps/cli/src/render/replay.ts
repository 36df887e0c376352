import type { ReplayCounts, ReplayLine } from '#libs/domain/diag';
import type { Layout } from './text.ts';
import { blocks, clean, facts, plural } from './text.ts';
import { count, digits, duration, time, unknown } from './units.ts';

export type ReplayDone = Extract<ReplayLine, { kind: 'done' }>;

/** True where nothing speaks against the records. `strict`: nothing may be left that was not executed either. */
export function replayHolds(done: ReplayDone, strict: boolean): boolean {
  const fits = done.different === 0 && done.unreadable === 0;
  return strict ? fits && done.ok && done.missingPlugin === 0 : fits;
}

export function replayProgress({ records, equal, different }: ReplayCounts): string {
  const bad = different === 0 ? '' : `, ${count(different)} DIFFERENT`;
  return `${plural(records, 'record')} read, ${count(equal)} equal${bad}`;
}

/** A line on the way that a person wants to see at once; undefined for the rest. */
export function replayLine(line: ReplayLine, { paint, ...layout }: Layout): string | undefined {
  if (line.kind === 'difference') {
    return `${paint.red('different')}  ${clean(line.requestId)}  ${time(line.receivedAtMs, layout)}  ${clean(line.text)}`;
  }
  if (line.kind === 'unreadable') return `${paint.red('unreadable')}  frame #${line.seq}  ${clean(line.text)}`;
  return undefined;
}

function sentence(done: ReplayDone, strict: boolean): string {
  const executed = done.equal + done.different;
  if (done.records === 0) return 'There is no record in this range: nothing was replayed.';
  if (done.different > 0) {
    return `${plural(done.different, 'record')} of ${count(executed)} replayed came to ANOTHER choice than was made.`;
  }
  const all =
    executed === 0
      ? 'No record in this range needed a choice'
      : `All ${count(executed)} replayed came to the same choice`;
  const left = [
    ...(done.missingPlugin === 0 ? [] : [`${plural(done.missingPlugin, 'record')} could not be executed`]),
    ...(done.unreadable === 0 ? [] : [`${count(done.unreadable)} could not be read`]),
  ].join(', ');
  return `${all}${left === '' ? '.' : `; ${left}${strict ? ', so the range is NOT verified.' : '.'}`}`;
}

export function renderReplay(done: ReplayDone, layout: Layout, strict: boolean): string {
  const { paint } = layout;
  const holds = replayHolds(done, strict);
  const perSecond = done.durationMs > 0 ? `${digits(Math.round((done.records * 1_000) / done.durationMs))}/s` : unknown;
  const missing = Object.entries(done.missingPlugins)
    .map(([plugin, records]) => `${plugin} is not in this build: ${plural(records, 'record')} not executed`)
    .map(clean)
    .join('\n');
  const first =
    done.first === undefined
      ? ''
      : paint.red(clean(`${done.first.requestId}  ${time(done.first.receivedAtMs, layout)}  ${done.first.text}`));
  return blocks(
    (holds ? paint.bold : paint.red)(sentence(done, strict)),
    facts(
      [
        [
          'records',
          `${count(done.records)}: ${count(done.equal)} equal, ${count(done.different)} different, ${count(done.picksFree)} refused before a choice was needed`,
        ],
        ['first', first],
        ['missing', missing === '' ? '' : paint.yellow(missing)],
        ['unreadable', done.unreadable === 0 ? '' : paint.red(count(done.unreadable))],
        ['took', `${duration(done.durationMs)} (${perSecond}), records from ${clean(done.source)}`],
        ['note', done.note === '' ? '' : paint.yellow(clean(done.note))],
        ['next', done.first === undefined ? '' : clean(`lintel why ${done.first.requestId}`)],
      ],
      layout,
    ),
  );
}
