import type { Command } from 'commander';
import type { Cli } from '../cli.ts';
import type { ExitCode } from '../exit-codes.ts';

/** What the flags of one command came to; each command knows the shape of its own. */
export type Flags = Readonly<Record<string, string | boolean | readonly string[] | undefined>>;

export type Handler = (cli: Cli, args: readonly string[], flags: Flags) => Promise<ExitCode>;

/** Gives a command its handler: the runner decides how it is called and what becomes of its exit code. */
export type Act = (command: Command, handler: Handler) => Command;

export const text = (value: Flags[string]): string | undefined =>
  typeof value === 'string' && value !== '' ? value : undefined;

/** Each room of commands adds its own to the program. */
export type AddCommands = (program: Command, act: Act) => void;
