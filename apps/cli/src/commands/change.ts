import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import type { ApplyAnswer, ListAnswer, RebuildLine, ReceiptAnswer, RedriveAnswer } from '#libs/domain/diag';
import { CodedError, errorText } from '#libs/kernel';
import type { KvReplicas } from '../render/kv.ts';
import type { Cli } from '../cli.ts';
import type { ExitCode } from '../exit-codes.ts';
import { exitCodes } from '../exit-codes.ts';
import { rebuildProgress, renderApply, renderRebuilt, renderReceipt } from '../render/receipts.ts';
import type { Item } from '../render/lists.ts';
import { renderList } from '../render/lists.ts';
import { clean } from '../render/text.ts';
import type { AddCommands, Flags, Handler } from './command.ts';
import { text } from './command.ts';
import { list, showDead } from './lists.ts';

const replicaPath = (id: string): string => `/api/v1/replicas/${encodeURIComponent(id)}`;

/** Reason in the body, where one is given: it stands in the commit. */
const reasonOf = (flags: Flags): { reason?: string } => {
  const reason = text(flags['reason']);
  return reason === undefined ? {} : { reason };
};

const replicaChange =
  (action: 'drain' | 'resume' | 'remove', done: string): Handler =>
  async (cli, [id = ''], flags) => {
    const api = await cli.api();
    const lost = action === 'drain' ? await onlyThere(cli, id) : undefined;
    const receipt =
      action === 'remove'
        ? await api.json<ReceiptAnswer>(replicaPath(id), { method: 'DELETE', body: reasonOf(flags) })
        : await api.json<ReceiptAnswer>(`${replicaPath(id)}/${action}`, { method: 'POST', body: reasonOf(flags) });
    await cli.answer(receipt, (layout) => renderReceipt(`replica ${id} ${done}`, receipt, layout));
    if (lost !== undefined) cli.note(lost);
    return exitCodes.ok;
  };

/** What is lost with the replica, where its engine tells. Where nobody knows nothing is said: the drain is done all the same. */
async function onlyThere(cli: Cli, id: string): Promise<string | undefined> {
  const api = await cli.api();
  const answer = await api
    .json<KvReplicas>('/api/v1/kv/replicas', { query: { replica: id } })
    .catch(() => ({ replicas: [] }));
  const [kv] = answer.replicas;
  if (kv === undefined || kv.onlyThere === 0) return undefined;
  return `${kv.onlyThere} of its ${kv.blocks} KV blocks are nowhere else${kv.exact ? '' : ', as far as is known'}`;
}

async function fileText(cli: Cli, file: string): Promise<string> {
  if (file === '-') return await cli.io.input();
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new CodedError('FILE_UNREADABLE', `cannot read ${file}: ${errorText(cause)}`, { cause });
  }
}

export async function apply(cli: Cli, _: readonly string[], flags: Flags): Promise<ExitCode> {
  const file = text(flags['file']) ?? '-';
  const body = await fileText(cli, file);
  const dryRun = flags['dryRun'] === true;
  const api = await cli.api();
  const answer = await api.json<ApplyAnswer>('/api/v1/apply', {
    method: 'POST',
    query: {
      dryRun: dryRun ? 1 : undefined,
      prune: flags['prune'] === true ? 1 : undefined,
      file: file === '-' ? 'stdin' : basename(file),
    },
    body,
    contentType: 'application/yaml',
  });
  await cli.answer(answer, (layout) => renderApply(answer, dryRun, layout));
  return exitCodes.ok;
}

export async function rebuild(cli: Cli, [name = '']: readonly string[]): Promise<ExitCode> {
  const api = await cli.api();
  const path = `/api/v1/projections/${encodeURIComponent(name)}/rebuild`;
  for await (const line of api.lines<RebuildLine>(path, { method: 'POST', patience: 'long' })) {
    if (line.kind === 'progress' && !cli.json) cli.progress(rebuildProgress(line));
    else await cli.line(line, line.kind === 'done' ? renderRebuilt(line, cli.layout) : undefined);
    if (line.kind === 'done') return exitCodes.ok;
  }
  throw new CodedError('API_ANSWER_CUT_OFF', `the rebuild of ${name} stopped before it was done`, {
    advice: 'It is resumable: the same command goes on where it stopped.',
  });
}

const retry: Handler = async (cli, [name = '']) => {
  const api = await cli.api();
  const path = `/api/v1/projections/${encodeURIComponent(name)}/retry`;
  const answer = await api.json<ListAnswer<Item>>(path, { method: 'POST', body: {} });
  await cli.answer(answer, (layout) => renderList('projections', answer, layout));
  return exitCodes.ok;
};

const redrive: Handler = async (cli, [id = '']) => {
  const api = await cli.api();
  const path = `/api/v1/dead-letters/${encodeURIComponent(id)}/redrive`;
  const answer = await api.json<RedriveAnswer>(path, { method: 'POST', body: {}, patience: 'long' });
  await cli.answer(
    answer,
    ({ paint }) => `${paint.green('✓')} ${clean(answer.consumer)} handled letter ${id}, which is gone.`,
  );
  return exitCodes.ok;
};

export const addChange: AddCommands = (program, act) => {
  act(
    program
      .command('apply')
      .description('make a configuration true: replicas, tenants, policies; validated whole, written as commits')
      .requiredOption('-f, --file <file>', 'lintel.yaml; - for standard input')
      .option('--dry-run', 'only say what would change')
      .option('--prune', 'also take away what an earlier apply brought and this document does not name'),
    apply,
  );

  const replica = program.command('replica').description('take a replica out of routing, back in, or away');
  const withReason = '--reason <text>';
  const reasonText = 'why; stands in the commit';
  act(
    replica
      .command('drain')
      .description('no new requests; those under way end')
      .argument('<id>', 'replica')
      .option(withReason, reasonText),
    replicaChange('drain', 'drains'),
  );
  act(
    replica
      .command('resume')
      .description('take back a drain')
      .argument('<id>', 'replica')
      .option(withReason, reasonText),
    replicaChange('resume', 'is back in routing'),
  );
  act(
    replica
      .command('remove')
      .description('out of the fleet; drain it first to lose nothing')
      .argument('<id>', 'replica')
      .option(withReason, reasonText),
    replicaChange('remove', 'is removed'),
  );

  const projection = program.command('projection').description('the read models in Postgres');
  act(
    projection.command('list').description('where each stands'),
    async (cli, _, flags) => await list(cli, 'projections', flags),
  );
  act(
    projection
      .command('rebuild')
      .description('fold the log anew beside the live rows, then swap; resumable')
      .argument('<name>', 'projection'),
    rebuild,
  );
  act(projection.command('retry').description('let a halted one try again').argument('<name>', 'projection'), retry);

  const dead = program.command('dead').description('messages that a reactor could not handle');
  act(dead.command('list').description('all of them'), async (cli, _, flags) => await list(cli, 'dead-letters', flags));
  act(dead.command('show').description('one of them, whole').argument('<id>', 'letter'), showDead);
  act(
    dead.command('redrive').description('give it to its reactor again; done, it is gone').argument('<id>', 'letter'),
    redrive,
  );
};
