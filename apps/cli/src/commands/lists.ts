import type { DeadLetterAnswer, ListAnswer } from '#libs/domain/diag';
import { closest, CodedError } from '#libs/kernel';
import type { Cli } from '../cli.ts';
import type { ExitCode } from '../exit-codes.ts';
import { exitCodes } from '../exit-codes.ts';
import { renderDeadLetter } from '../render/dead-letter.ts';
import type { Item, ListName } from '../render/lists.ts';
import { listNames, renderList } from '../render/lists.ts';
import { limit } from './checks.ts';
import type { AddCommands, Flags } from './command.ts';
import { text } from './command.ts';

const singular: Readonly<Record<string, ListName>> = {
  replica: 'replicas',
  policy: 'policies',
  tenant: 'tenants',
  request: 'requests',
  projection: 'projections',
  'dead-letter': 'dead-letters',
  price: 'prices',
  budget: 'budgets',
};

/** @throws LIST_UNKNOWN with the closest name */
export function listName(given: string): ListName {
  const name = singular[given] ?? listNames.find((one) => one === given);
  if (name !== undefined) return name;
  const meant = closest(given, listNames);
  throw new CodedError('LIST_UNKNOWN', `there is no list ${JSON.stringify(given)}`, {
    advice: `${meant === undefined ? '' : `Did you mean ${meant}? `}There are: ${listNames.join(', ')}.`,
  });
}

export async function list(cli: Cli, name: ListName, flags: Flags): Promise<ExitCode> {
  const api = await cli.api();
  const query = Object.fromEntries(
    ['limit', 'since', 'until', 'model', 'tenant', 'outcome', 'replica'].map((flag) => [flag, text(flags[flag])]),
  );
  const answer = await api.json<ListAnswer<Item>>(`/api/v1/${name}`, { query });
  await cli.answer(answer, (layout) => renderList(name, answer, layout));
  return exitCodes.ok;
}

export async function showDead(cli: Cli, [id = '']: readonly string[]): Promise<ExitCode> {
  const api = await cli.api();
  const answer = await api.json<DeadLetterAnswer>(`/api/v1/dead-letters/${encodeURIComponent(id)}`);
  await cli.answer(answer, (layout) => renderDeadLetter(answer, layout));
  return exitCodes.ok;
}

export const addLists: AddCommands = (program, act) => {
  act(
    program
      .command('get')
      .description(`list ${listNames.join(', ')}`)
      .argument('<what>', 'one of them')
      .option('--limit <n>', 'requests: at most this many, newest first', limit)
      .option('--since <moment>', 'requests: from then on')
      .option('--until <moment>', 'requests: up to then')
      .option('--model <name>', 'requests: of this model')
      .option('--tenant <id>', 'requests: of this tenant')
      .option('--outcome <name>', 'requests: that ended so, such as completed or client_gone')
      .option('--replica <id>', 'requests: answered by this replica'),
    async (cli, [what = ''], flags) => await list(cli, listName(what), flags),
  );
};
