import type { Command } from 'commander';
import { completionScript, shells } from '../completion.ts';
import { exitCodes } from '../exit-codes.ts';
import type { Item } from '../render/lists.ts';
import type { AddCommands } from './command.ts';

/** The ids in an answer of names or of whole entries. */
export function namesIn(answer: unknown): string[] {
  const items = Array.isArray(answer) ? answer : ((answer as { items?: unknown } | null)?.items ?? []);
  if (!Array.isArray(items)) return [];
  return items.flatMap((item: unknown) => {
    if (typeof item === 'string') return [item];
    const entry = item as Item;
    const id = entry['id'] ?? entry['replicaId'] ?? entry['tenantId'] ?? entry['policyId'];
    return typeof id === 'string' ? [id] : [];
  });
}

export const addShell: AddCommands = (program, act) => {
  act(
    program
      .command('completion')
      .description('a script for the shell: source <(lintel completion bash)')
      .argument('<shell>', shells.join(', ')),
    async (cli, [shell = '']) => {
      await cli.io.out(completionScript(shell, program as Command));
      return exitCodes.ok;
    },
  );
  act(program.command('complete-names', { hidden: true }).argument('<lists...>'), async (cli, lists) => {
    try {
      const api = await cli.api();
      const asked = lists.map(async (name) =>
        namesIn(await api.json(`/api/v1/completion/${encodeURIComponent(name)}`)),
      );
      const names = [...new Set((await Promise.all(asked)).flat())];
      if (names.length > 0) await cli.say(names.join('\n'));
    } catch {
      // A shell that completes wants names or silence.
    }
    return exitCodes.ok;
  });
};
