import type { UsageAnswer } from '#libs/domain/diag';
import type { Cli } from '../cli.ts';
import type { ExitCode } from '../exit-codes.ts';
import { exitCodes } from '../exit-codes.ts';
import { renderUsage, usageCsv } from '../render/usage.ts';
import type { AddCommands, Flags } from './command.ts';
import { text } from './command.ts';

const filters = ['tenant', 'project', 'key', 'user', 'model'] as const;

async function usage(cli: Cli, flags: Flags): Promise<ExitCode> {
  const api = await cli.api();
  const query: Record<string, string | undefined> = { 'end-user': text(flags['endUser']) };
  for (const name of ['by', 'since', 'until', ...filters]) query[name] = text(flags[name]);
  const answer = await api.json<UsageAnswer>('/api/v1/usage', { query, patience: 'long' });
  if (flags['csv'] === true && !cli.json) {
    cli.durable(answer.durability);
    await cli.io.out(usageCsv(answer));
    if (answer.note !== undefined) cli.note(answer.note);
  } else await cli.answer(answer, (layout) => renderUsage(answer, layout));
  return exitCodes.ok;
}

export const addUsage: AddCommands = (program, act) => {
  const command = program
    .command('usage')
    .description('what was used and what it cost, as the ledger says')
    .option('--by <names>', 'tenant, project, key, user, end-user, model, month, day, hour (default tenant,model,day)')
    .option('--since <moment>', 'hours from then on (default 30d)')
    .option('--until <moment>', 'hours up to then');
  for (const name of filters) command.option(`--${name} <name>`, `only of this ${name}`);
  act(
    command.option('--end-user <name>', 'only of this end user').option('--csv', 'comma-separated, with a header line'),
    async (cli, _args, flags) => await usage(cli, flags),
  );
};
