import type { Cli } from '../cli.ts';
import type { ExitCode } from '../exit-codes.ts';
import { exitCodes } from '../exit-codes.ts';
import type { KvBlock, KvReplicas, KvTop } from '../render/kv.ts';
import { renderBlock, renderReplicas, renderTop } from '../render/kv.ts';
import { limit } from './checks.ts';
import type { AddCommands, Flags } from './command.ts';
import { text } from './command.ts';

async function top(cli: Cli, flags: Flags): Promise<ExitCode> {
  const api = await cli.api();
  const answer = await api.json<KvTop>('/api/v1/kv/top', { query: { limit: text(flags['limit']) } });
  await cli.answer(answer, (layout) => renderTop(answer, layout));
  return exitCodes.ok;
}

async function show(cli: Cli, replica: string | undefined): Promise<ExitCode> {
  const api = await cli.api();
  const answer = await api.json<KvReplicas>('/api/v1/kv/replicas', { query: { replica } });
  await cli.answer(answer, (layout) => renderReplicas(answer, layout));
  return exitCodes.ok;
}

async function why(cli: Cli, hash: string): Promise<ExitCode> {
  const api = await cli.api();
  const answer = await api.json<KvBlock>('/api/v1/kv/block', { query: { hash } });
  await cli.answer(answer, (layout) => renderBlock(answer, layout));
  return answer.places.length > 0 ? exitCodes.ok : exitCodes.no;
}

export const addKv: AddCommands = (program, act) => {
  const kv = program.command('kv').description('what the KV caches of engines hold, as their own events say');
  act(
    kv
      .command('top')
      .description('blocks that most replicas hold')
      .option('--limit <n>', 'at most this many (default 50)', limit),
    async (cli, _args, flags) => await top(cli, flags),
  );
  act(
    kv
      .command('show')
      .description('what each replica holds, and how much of it nobody else has')
      .argument('[replica]', 'only this one'),
    async (cli, [replica]) => await show(cli, replica),
  );
  act(
    kv
      .command('why')
      .description('who holds a block, and on which medium')
      .argument('<hash>', 'as lintel kv top has it'),
    async (cli, [hash = '']) => await why(cli, hash),
  );
};
