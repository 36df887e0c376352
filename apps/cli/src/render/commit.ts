import type { CommitExplanation, WhyAnswer } from '#libs/domain/diag';
import { table } from './table.ts';
import type { Layout } from './text.ts';
import { blocks, clean, facts, short } from './text.ts';
import { age, digits, score, time, unknown } from './units.ts';

const dataLengthMax = 120;

/** `route.replica sim-1` for `lintel.ev.route.replica.sim-1`; another subject as it is. */
export function subjectText(subject: string): string {
  const match = /^lintel\.ev\.([^.]+)\.([^.]+)\.([^.]+)$/.exec(subject);
  return match === null ? clean(subject) : `${match[1]}.${match[2]} ${match[3]}`;
}

/** `name=value` of each field; what is nested as JSON. */
export function dataText(data: unknown): string {
  if (typeof data !== 'object' || data === null) return clean(JSON.stringify(data) ?? '');
  return clean(
    Object.entries(data)
      .map(
        ([name, value]) =>
          `${name}=${typeof value === 'string' && /^[\w./:@-]+$/.test(value) ? value : JSON.stringify(value)}`,
      )
      .join(' '),
  );
}

/** One commit of the timeline: one line, a further one for each further event. */
export function commitLine(commit: CommitExplanation, layout: Layout): string {
  const { paint } = layout;
  const head = `${`#${commit.seq}`.padStart(7)}  ${paint.dim(time(commit.storedAtMs, layout))}  ${paint.cyan(clean(subjectText(commit.subject)))} v${commit.version}`;
  if (commit.unreadable !== '') return `${head}  ${paint.red(`unreadable: ${clean(commit.unreadable)}`)}`;
  const why = commit.reason === null || commit.reason.text === '' ? '' : `  because ${clean(commit.reason.text)}`;
  const by = paint.dim(`  by ${clean(commit.actor) || unknown}`);
  const [first, ...more] = commit.events.map(({ type, data }) =>
    `${paint.bold(clean(type))} ${short(dataText(data), dataLengthMax)}`.trimEnd(),
  );
  return [`${head}  ${first ?? 'no event'}${why}${by}`, ...more.map((text) => `${' '.repeat(9)}+ ${text}`)].join('\n');
}

export function renderLog(commits: readonly CommitExplanation[], layout: Layout): string {
  return commits.map((commit) => commitLine(commit, layout)).join('\n');
}

function reasonBlocks({ reason }: CommitExplanation, layout: Layout): string[] {
  if (reason === null) return [];
  const { paint } = layout;
  const parts: string[] = [];
  if (reason.inputs.length > 0) {
    const rows = reason.inputs.map(({ name, seq, value, ageMs }) => [
      name,
      value === null ? unknown : digits(value),
      age(ageMs),
      seq === 0 ? '' : `#${seq}`,
    ]);
    const columns = [
      { title: 'input' },
      { title: 'value', align: 'right' as const },
      { title: 'age' },
      { title: 'from' },
    ];
    parts.push(`${paint.bold('inputs')}\n${table(columns, rows, layout)}`);
  }
  if (reason.alternatives.length > 0) {
    const rows = reason.alternatives.map(({ name, score: points, note }) => [name, score(points), note]);
    const columns = [{ title: 'alternative' }, { title: 'score', align: 'right' as const }, { title: 'note' }];
    parts.push(`${paint.bold('alternatives')}\n${table(columns, rows, layout)}`);
  }
  return parts;
}

/** What `lintel why <commit id>` prints. */
export function renderWhyCommit(answer: WhyAnswer, layout: Layout): string {
  const commit = answer.commit as NonNullable<WhyAnswer['commit']>;
  const { paint } = layout;
  const types = commit.events.map(({ type }) => type).join(', ') || 'no event';
  const state = commit.accepted
    ? 'accepted'
    : paint.red('NOT accepted: another commit extended the same head first; no reader applies this one');
  const { reason } = commit;
  const policy = reason === null || reason.policyName === '' ? '' : `${reason.policyName} v${reason.policyVersion}`;
  return blocks(
    paint.bold(
      clean(
        `Commit #${commit.seq} made version ${commit.version} of ${subjectText(commit.subject)}: ${types}, by ${commit.actor || unknown}.`,
      ),
    ),
    facts(
      [
        ['commit', clean(commit.commitId)],
        ['state', state],
        ['stored', time(commit.storedAtMs, layout)],
        ['decided', time(commit.atMs, layout)],
        ['because', reason === null ? '' : clean(reason.text)],
        ['policy', clean(policy)],
        ['cause', clean(commit.causeId)],
        ['belongs to', clean(commit.correlationId)],
        ['trace', clean(commit.traceparent)],
        ['unreadable', commit.unreadable === '' ? '' : paint.red(clean(commit.unreadable))],
      ],
      layout,
    ),
    ...reasonBlocks(commit, layout),
    ...commit.events.map(
      ({ type, data }) =>
        `${paint.bold(clean(type))}\n${JSON.stringify(data, null, 2)
          .split('\n')
          .map((line) => `  ${clean(line)}`)
          .join('\n')}`,
    ),
    facts(
      [
        ['hash', clean(commit.hash)],
        ['extends', commit.prevHash === '' ? 'nothing: the first of its aggregate' : clean(commit.prevHash)],
        ['note', answer.note === '' ? '' : paint.yellow(clean(answer.note))],
      ],
      layout,
    ),
  );
}
