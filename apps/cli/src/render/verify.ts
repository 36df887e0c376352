import type { ArchiveVerdict, ProjectionVerdict, VerifyAnswer, VerifyPart } from '#libs/domain/diag';
import { table } from './table.ts';
import type { Layout } from './text.ts';
import { blocks, clean, facts, plural } from './text.ts';
import { count, duration, time } from './units.ts';

const problemsShownMax = 20;

type LogVerdict = Omit<VerifyAnswer, 'projections' | 'notes' | 'durationMs' | 'durability'>;

function problemsBlock(problems: readonly VerifyPart[], total: number, layout: Layout): string {
  if (problems.length === 0) return '';
  const { paint } = layout;
  const shown = problems.slice(0, problemsShownMax);
  const rows = shown.map(({ seq, rule, text }) => [`#${seq}`, { text: rule, style: paint.red }, text]);
  const more = total > shown.length ? `\n… ${count(total - shown.length)} more` : '';
  return `${table([{ title: 'sequence', align: 'right' }, { title: 'law' }, { title: 'what is wrong' }], rows, layout)}${more}`;
}

function sealText({ anchors, sealedThroughSeq, lastSeq }: LogVerdict): string {
  if (anchors === 0) return 'no anchor: the chains hold, nothing is sealed';
  const open = lastSeq - sealedThroughSeq;
  return `${plural(anchors, 'anchor')}, sealed through #${sealedThroughSeq}${open > 0 ? `, ${plural(open, 'sequence')} after the last seal` : ''}`;
}

function logFacts(verdict: LogVerdict): [string, string][] {
  return [
    [
      'log',
      `${plural(verdict.commits, 'commit')} of ${plural(verdict.aggregates, 'aggregate')}, last #${verdict.lastSeq}`,
    ],
    ['anchors', sealText(verdict)],
    [
      'forked',
      verdict.forked === 0 ? '' : `${plural(verdict.forked, 'commit')} lost a race and no reader applies them`,
    ],
  ];
}

function badSentence(firstBad: VerifyPart | undefined): string {
  return firstBad === undefined
    ? 'Something does not verify.'
    : clean(`The log does NOT verify: first at #${firstBad.seq}, ${firstBad.rule}: ${firstBad.text}.`);
}

/** Diagnostics says so of a projection for which it found no answer. */
const notCompared = (text: string): boolean => text.startsWith('not compared');

function projectionsBlock(projections: readonly ProjectionVerdict[], layout: Layout): string {
  if (projections.length === 0) return '';
  const { paint } = layout;
  const rows = projections.map(({ projection, equal, seq, text }) => [
    equal ? { text: '✓', style: paint.green } : { text: '✗', style: paint.red },
    projection,
    `#${seq}`,
    equal ? 'equal' : notCompared(text) ? 'unknown' : 'NOT equal',
    text,
  ]);
  const columns = [
    { title: ' ' },
    { title: 'projection' },
    { title: 'at', align: 'right' as const },
    { title: 'verdict' },
    { title: 'detail' },
  ];
  return table(columns, rows, layout);
}

export function renderVerify(answer: VerifyAnswer, layout: Layout): string {
  const { paint } = layout;
  const good = `The log verifies: ${plural(answer.commits, 'commit')}, every chain and seal fits, nothing is missing.`;
  const named = (list: readonly ProjectionVerdict[]): string =>
    clean(list.map(({ projection }) => projection).join(', '));
  const failed = answer.projections.filter(({ equal }) => !equal);
  const wrong = failed.filter(({ text }) => !notCompared(text));
  const sentence =
    answer.firstBad !== undefined || (!answer.ok && failed.length === 0)
      ? badSentence(answer.firstBad)
      : wrong.length > 0
        ? `The log verifies, but rows of ${named(wrong)} are NOT what it says.`
        : failed.length > 0
          ? `The log verifies, but ${named(failed)} could not be compared with it.`
          : good;
  return blocks(
    (answer.ok ? paint.bold : paint.red)(sentence),
    facts(
      [
        ...logFacts(answer),
        ['took', duration(answer.durationMs)],
        ['note', paint.yellow(answer.notes.map(clean).join('\n'))],
      ],
      layout,
    ),
    problemsBlock(answer.problems, answer.problemsTotal, layout),
    projectionsBlock(answer.projections, layout),
  );
}

/** `fileName` is shown as given. */
export function renderArchive(fileName: string, verdict: ArchiveVerdict, trusted: boolean, layout: Layout): string {
  const { report, stream, createdAtMs } = verdict;
  const { paint } = layout;
  const good = `The archive verifies: ${plural(report.commits, 'commit')}, every chain and seal fits, nothing is missing.`;
  return blocks(
    report.ok ? paint.bold(good) : paint.red(badSentence(report.firstBad)),
    facts(
      [
        ['file', clean(fileName)],
        ['stream', `${clean(stream)}, exported ${time(createdAtMs, layout)}`],
        ...logFacts(report),
        [
          'keys',
          report.anchors === 0
            ? ''
            : trusted
              ? 'only trusted keys signed'
              : 'one key signed all; whose it is was not checked (--trusted-key)',
        ],
      ],
      layout,
    ),
    problemsBlock(report.problems, report.problemsTotal, layout),
  );
}

/** What an import left in the log, which was read back and verified. */
export function renderImported(
  fileName: string,
  where: string,
  imported: { readonly commits: number; readonly anchors: number; readonly lastSeq: number; readonly ok: boolean },
  layout: Layout,
  home?: string,
): string {
  const { commits, anchors, lastSeq, ok } = imported;
  const { paint } = layout;
  return blocks(
    ok
      ? paint.bold(
          `Restored: ${plural(commits, 'commit')} and ${plural(anchors, 'anchor')}, each at its sequence; read back, they verify.`,
        )
      : paint.red('What was written does NOT verify when read back: use this log for nothing.'),
    facts(
      [
        ['file', clean(fileName)],
        ['into', clean(where)],
        ['last', `#${lastSeq}`],
        ['times', 'commits keep the time at which they were decided; as stored they count from now'],
        [
          'next',
          home === undefined
            ? ''
            : clean(`lintel up --home ${home}; copy api-key of the old home first to keep its clients' key`),
        ],
      ],
      layout,
    ),
  );
}
