import type {
  CalibrationAnswer,
  CommitExplanation,
  LogAnswer,
  ReplayLine,
  StateAnswer,
  VerifyAnswer,
  WhyAnswer,
} from '#libs/domain/diag';
import { CodedError } from '#libs/kernel';
import { verifyFile } from '../archive-file.ts';
import type { Cli } from '../cli.ts';
import type { ExitCode } from '../exit-codes.ts';
import { exitCodes } from '../exit-codes.ts';
import type { ApiClient } from '../http/client.ts';
import { renderCalibration } from '../render/calibration.ts';
import { commitLine, renderLog, renderWhyCommit } from '../render/commit.ts';
import type { ReplayDone } from '../render/replay.ts';
import { renderReplay, replayHolds, replayLine, replayProgress } from '../render/replay.ts';
import { renderState } from '../render/state.ts';
import { renderArchive, renderVerify } from '../render/verify.ts';
import { renderWhyRequest } from '../render/why-request.ts';
import { limit, repeated, sequence } from './checks.ts';
import type { AddCommands, Flags } from './command.ts';
import { text } from './command.ts';

const logLinesDefault = 20;
/** Commits of one answer; more are asked for in pages. */
const logPageMax = 1_000;

const yes = (holds: boolean): ExitCode => (holds ? exitCodes.ok : exitCodes.no);

export async function why(cli: Cli, [id = '']: readonly string[], flags: Flags): Promise<ExitCode> {
  const api = await cli.api();
  const answer = await api.json<WhyAnswer>(`/api/v1/why/${encodeURIComponent(id)}`);
  await cli.answer(answer, (layout) =>
    answer.commit === undefined
      ? renderWhyRequest(answer, layout, { all: flags['all'] === true })
      : renderWhyCommit(answer, layout),
  );
  return exitCodes.ok;
}

/** A stream that stopped before it said how it ended tells nothing. */
const cutOff = (what: string): CodedError =>
  new CodedError('API_ANSWER_CUT_OFF', `the answer to ${what} ended before it was whole`, {
    advice: 'Diagnostics was stopped or failed on the way: see its output, then ask again.',
  });

export async function replay(cli: Cli, _: readonly string[], flags: Flags): Promise<ExitCode> {
  const api = await cli.api();
  const strict = flags['verify'] === true;
  const count = text(flags['limit']);
  const body = {
    ...(text(flags['since']) === undefined ? {} : { since: flags['since'] }),
    ...(text(flags['until']) === undefined ? {} : { until: flags['until'] }),
    ...(count === undefined ? {} : { limit: Number(count) }),
  };
  let done: ReplayDone | undefined;
  cli.progress('replaying');
  for await (const line of api.lines<ReplayLine>('/api/v1/replay', { method: 'POST', body, patience: 'long' })) {
    if (line.kind === 'done') {
      done = line;
      cli.durable(line.durability);
    }
    if (line.kind === 'progress' && !cli.json) cli.progress(replayProgress(line));
    else
      await cli.line(
        line,
        line.kind === 'done' ? renderReplay(line, cli.layout, strict) : replayLine(line, cli.layout),
      );
  }
  if (done === undefined) throw cutOff('replay');
  return yes(replayHolds(done, strict));
}

export async function calibration(cli: Cli, _: readonly string[], flags: Flags): Promise<ExitCode> {
  const api = await cli.api();
  const query: Record<string, string | undefined> = {};
  for (const name of ['since', 'until', 'model', 'limit']) query[name] = text(flags[name]);
  const answer = await api.json<CalibrationAnswer>('/api/v1/calibration', { query, patience: 'long' });
  await cli.answer(answer, (layout) => renderCalibration(answer, layout));
  return exitCodes.ok;
}

export async function verify(cli: Cli, _: readonly string[], flags: Flags): Promise<ExitCode> {
  const file = text(flags['archive']);
  const trusted = flags['trustedKey'] as readonly string[] | undefined;
  if (file !== undefined) {
    const verdict = await verifyFile(file, trusted);
    await cli.answer({ file, ...verdict }, (layout) => renderArchive(file, verdict, trusted !== undefined, layout));
    return yes(verdict.report.ok);
  }
  if (trusted !== undefined) {
    throw new CodedError('FLAG_INVALID', '--trusted-key goes with --archive', {
      advice: 'A running Lintel checks its anchors against their own key; an archive is where a foreign hand shows.',
    });
  }
  const api = await cli.api();
  cli.progress('verifying');
  const answer = await api.json<VerifyAnswer>('/api/v1/verify', {
    method: 'POST',
    body: { projections: flags['projections'] === true },
    patience: 'long',
  });
  await cli.answer(answer, (layout) => renderVerify(answer, layout));
  return yes(answer.ok);
}

export async function state(cli: Cli, _: readonly string[], flags: Flags): Promise<ExitCode> {
  const api = await cli.api();
  const query = { at: text(flags['at']), diff: text(flags['diff']) };
  const answer = await api.json<StateAnswer>('/api/v1/state', { query, patience: 'long' });
  await cli.answer(answer, (layout) => renderState(answer, layout));
  return exitCodes.ok;
}

/** `route`, `route.replica`, `route.replica.sim-1` for the subjects of the log; what is spelled out stays. */
export function subjectFilter(given: string | undefined): string | undefined {
  if (given === undefined || given.startsWith('lintel.')) return given;
  const parts = given.split('.').length;
  return `lintel.ev.${given}${parts < 3 && !/[>*]$/.test(given) ? '.>' : ''}`;
}

/** Commits behind `after`, in pages; without it the newest ones. */
async function* pages(
  api: ApiClient,
  query: { readonly after: string | undefined; readonly subject: string | undefined; readonly count: number },
): AsyncIterable<LogAnswer> {
  const { subject, count } = query;
  let after = query.after === undefined ? undefined : Number(query.after);
  for (let left = count; left > 0;) {
    const limit = Math.min(left, logPageMax);
    const answer = await api.json<LogAnswer>('/api/v1/log', { query: { after, subject, limit }, patience: 'long' });
    yield answer;
    const last = answer.commits.at(-1);
    if (after === undefined || last === undefined || last.seq >= answer.lastSeq) return;
    after = last.seq;
    left -= answer.commits.length;
  }
}

export async function log(cli: Cli, _: readonly string[], flags: Flags): Promise<ExitCode> {
  const api = await cli.api();
  const subject = subjectFilter(text(flags['subject']));
  const after = text(flags['after']);
  const following = flags['follow'] === true;
  const count = Number(text(flags['limit']) ?? logLinesDefault);
  const commits: CommitExplanation[] = [];
  let lastSeq = 0;
  let durability: LogAnswer['durability'] = 'disk';
  if (!following || after === undefined) {
    for await (const page of pages(api, { after, subject, count })) {
      commits.push(...page.commits);
      ({ lastSeq, durability } = page);
    }
  }
  if (!following) {
    const answer: LogAnswer = { durability, lastSeq, commits };
    await cli.answer(answer, (layout) => (commits.length === 0 ? 'No commit.' : renderLog(commits, layout)));
    return exitCodes.ok;
  }
  cli.durable(durability);
  for (const commit of commits) await cli.line(commit, commitLine(commit, cli.layout));
  const follow = { query: { after: after ?? lastSeq, subject }, patience: 'for-ever' } as const;
  for await (const commit of api.lines<CommitExplanation>('/api/v1/log/follow', follow)) {
    await cli.line(commit, commitLine(commit, cli.layout));
  }
  throw cutOff('log --follow');
}

export const addExplain: AddCommands = (program, act) => {
  act(
    program
      .command('why')
      .description('explain a request or a commit: what was chosen, over what, on what evidence')
      .argument('<id>', 'request id (x-lintel-request-id), commit id, or #<sequence> of a commit')
      .option('--all', 'every losing candidate, however many there are'),
    why,
  );
  act(
    program
      .command('replay')
      .description('decide recorded requests again, from their records alone, and compare')
      .option('--since <moment>', 'from then on: 1h, 2026-11-24T15:00:00Z')
      .option('--until <moment>', 'up to then')
      .option('--limit <n>', 'at most this many records', limit)
      .option('--verify', 'exit 1 also where a record could not be executed'),
    replay,
  );
  act(
    program
      .command('calibration')
      .description('what was foretold of requests when they were sent, against what came of them, by decile')
      .option('--since <moment>', 'from then on (default 1h)')
      .option('--until <moment>', 'up to then')
      .option('--model <name>', 'only of this model')
      .option('--limit <n>', 'records read at most (default 100000)', limit),
    calibration,
  );
  act(
    program
      .command('verify')
      .description(
        'check the chains, the seals and the gaps of the log, or of an archive, and name the first bad sequence',
      )
      .option('--projections', 'also compare the rows in Postgres with the fold of the log')
      .option('--archive <file>', 'an exported archive, offline: no server is needed')
      .option(
        '--trusted-key <key>',
        'with --archive: only this key may have signed (SPKI in base64); repeatable',
        repeated,
      ),
    verify,
  );
  act(
    program
      .command('state')
      .description('the fleet as the log says it was')
      .option('--at <moment>', 'a time (15m, 2026-11-24T15:00:00Z) or a sequence (#120); default now')
      .option('--diff <moment>', 'what changed between that moment and --at'),
    state,
  );
  act(
    program
      .command('log')
      .description('the timeline of decisions')
      .option('-f, --follow', 'go on as commits come, until Ctrl-C')
      .option('--after <seq>', 'behind this sequence; default: the last ones', sequence)
      .option('--subject <subject>', 'only these: route, route.replica, tenancy.tenant.acme, or a NATS filter')
      .option('--limit <n>', `at most this many (default ${logLinesDefault})`, limit),
    log,
  );
};
