import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Command, CommanderError, Option } from 'commander';
import { closest } from '#libs/kernel';
import { Cli } from './cli.ts';
import type { GlobalOptions } from './cli.ts';
import { addArchive } from './commands/archive.ts';
import { benchMain } from './commands/bench.ts';
import { addChange } from './commands/change.ts';
import type { Act, Flags } from './commands/command.ts';
import { addExplain } from './commands/explain.ts';
import { addKv } from './commands/kv.ts';
import { addLists } from './commands/lists.ts';
import { addPeople } from './commands/people.ts';
import { addShell } from './commands/shell.ts';
import { addUsage } from './commands/usage.ts';
import { addStatus } from './commands/status.ts';
import { become, standaloneMain, upArguments } from './commands/up.ts';
import { exitCodeOf, exitCodes } from './exit-codes.ts';
import type { Io } from './io.ts';
import { errorJson, renderError } from './render/errors.ts';
import { ansi, plain } from './render/text.ts';

const epilogue = `
Exit codes: 0 done, and the answer is yes · 1 the answer is no (records differ, the log does not verify, not ready) · 2 the command line or a
file is wrong · 3 there is no such thing · 4 no Lintel runs there or it cannot be reached · 5 refused · 6 Lintel failed.

A running Lintel is found through <home>/connection.json; another one by --api and LINTEL_ADMIN_KEY. More: docs/cli.md.`;

function version(): string {
  for (let folder = import.meta.dirname; folder !== dirname(folder); folder = dirname(folder)) {
    const file = join(folder, 'package.json');
    if (existsSync(file))
      return String((JSON.parse(readFileSync(file, 'utf8')) as { version?: unknown }).version ?? '?');
  }
  return '?';
}

/** The grammar. `act` ties each command to what it does. */
export function makeProgram(act: Act): Command {
  const program = new Command('lintel')
    .description('Ask a running Lintel why, verify it, replay it, change it.')
    .addOption(new Option('--home <folder>', 'folder of the running Lintel (default .lintel)').env('LINTEL_HOME'))
    .addOption(new Option('--api <url>', 'address of its diagnostics API instead').env('LINTEL_API'))
    // Hidden: a key among the arguments can be read by every process of the machine.
    .addOption(new Option('--admin-key <key>').env('LINTEL_ADMIN_KEY').hideHelp())
    .addOption(
      new Option('--ca <file>', 'PEM file of authorities of an https address, besides the well-known').env('LINTEL_CA'),
    )
    .option('--json', 'the answer as JSON; streams as NDJSON; errors as JSON on stderr')
    .option('--no-color', 'no colours, as with NO_COLOR')
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this')
    .configureHelp({ showGlobalOptions: true })
    .addHelpText('after', epilogue)
    .showSuggestionAfterError(true);
  program.command('up').description('start everything: see lintel up --help').helpOption(false).allowUnknownOption();
  program
    .command('bench')
    .description('in a checkout, one bench or all: see lintel bench --help, lintel bench routing --help')
    .helpOption(false)
    .allowUnknownOption();
  addExplain(program, act);
  addLists(program, act);
  addUsage(program, act);
  addKv(program, act);
  addStatus(program, act);
  addChange(program, act);
  addPeople(program, act);
  addArchive(program, act);
  addShell(program, act);
  return program;
}

/** The leaf commands by their last word: what `lintel drain` may have meant. */
function meantCommand(program: Command, word: string): string | undefined {
  const paths = new Map<string, string>();
  const visit = (command: Command, path: readonly string[]): void => {
    for (const one of command.commands) {
      const here = [...path, one.name()];
      if (here.length > 1) paths.set(one.name(), here.join(' '));
      visit(one, here);
    }
  };
  visit(program, []);
  const name = closest(word, paths.keys());
  return name === undefined ? undefined : paths.get(name);
}

/** Runs one command line (without node and the script) and answers its exit code. Never throws. */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  const up = upArguments(argv);
  let code: number = exitCodes.ok;
  let json = argv.includes('--json');
  let paint = io.colors.note && !argv.includes('--no-color') ? ansi : plain;
  try {
    if (up !== undefined) return await become(standaloneMain, up);
    const bench = upArguments(argv, 'bench');
    if (bench !== undefined) return await become(benchMain(), bench);
    const act: Act = (command, handler) =>
      command.action(async () => {
        const options = command.optsWithGlobals<GlobalOptions & Flags>();
        const cli = new Cli(io, options);
        json = cli.json;
        paint = cli.notePaint;
        try {
          code = await handler(cli, command.args, options as Flags);
        } finally {
          cli.endProgress();
        }
      });
    const program = makeProgram(act);
    quiet(program, io);
    await program.parseAsync([...argv], { from: 'user' });
    return code;
  } catch (thrown) {
    if (thrown instanceof CommanderError) return usage(thrown, io, json);
    const exitCode = exitCodeOf(thrown);
    io.note(json ? `${errorJson(thrown, exitCode)}\n` : `${renderError(thrown, paint)}\n`);
    return exitCode;
  }
}

/** Commander's own output through the io, and its exits as exceptions. */
function quiet(program: Command, io: Io): void {
  const visit = (command: Command): void => {
    command.exitOverride().configureOutput({
      writeOut: (text) => void io.out(text),
      writeErr: (text) => void io.note(text),
      // Said once, below, with what may have been meant.
      outputError: () => {},
    });
    for (const one of command.commands) visit(one);
  };
  visit(program);
}

function usage(thrown: CommanderError, io: Io, json: boolean): number {
  if (thrown.exitCode === 0) return exitCodes.ok;
  if (thrown.code === 'commander.help') return exitCodes.usage;
  const message = thrown.message.replace(/^error: /, '');
  const word = /unknown command '([^']+)'/.exec(message)?.[1];
  const meant =
    word === undefined || message.includes('Did you mean')
      ? undefined
      : meantCommand(
          makeProgram((command) => command),
          word,
        );
  const suggested = message.includes('Did you mean') ? '' : 'See lintel --help.';
  const advice = meant === undefined ? suggested : `Did you mean lintel ${meant}?`;
  if (json) {
    io.note(`${JSON.stringify({ error: { code: 'USAGE', message, advice, exitCode: exitCodes.usage } })}\n`);
  } else io.note(`error: ${message}\n${advice === '' ? '' : `${advice}\n`}`);
  return exitCodes.usage;
}
