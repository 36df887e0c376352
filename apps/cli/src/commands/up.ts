import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';
import { CodedError } from '#libs/kernel';

/** The built standalone beside the built CLI. */
export const standaloneMain = fileURLToPath(new URL('../../../standalone/src/main.js', import.meta.url));

const forwarded = ['SIGTERM', 'SIGHUP'] as const;

/** Runs a program in place of this one: its input, output, signals and exit code. */
export async function become(program: string, args: readonly string[]): Promise<number> {
  if (!existsSync(program)) {
    throw new CodedError('PROGRAM_MISSING', `${program} is not there`, { advice: 'Build first: npm run build.' });
  }
  const child = spawn(process.execPath, [program, ...args], { stdio: 'inherit' });
  const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
  // Ctrl-C reaches the child from the terminal by itself; this process only waits for it.
  const wait = (): void => {};
  for (const signal of forwarded) process.on(signal, forward);
  process.on('SIGINT', wait);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) =>
        resolve(code ?? 128 + (signal === null ? 0 : (constants.signals[signal] ?? 0))),
      );
    });
  } finally {
    for (const signal of forwarded) process.off(signal, forward);
    process.off('SIGINT', wait);
  }
}

/** What follows `up`, or another command that runs a program, as it was given; flags before it that take a value are passed on too. */
export function upArguments(argv: readonly string[], command = 'up'): readonly string[] | undefined {
  const before: string[] = [];
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at] as string;
    if (word === command) return [...before, ...argv.slice(at + 1)];
    if (!word.startsWith('-')) return undefined;
    before.push(word);
    if (word === '--home' || word === '--api') before.push(argv[++at] ?? '');
  }
  return undefined;
}
