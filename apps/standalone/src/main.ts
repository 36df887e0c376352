import process from 'node:process';
import { CodedError, errorCode, errorText, systemEnvironment } from '#libs/kernel';
import { upCommand, type UpOptions } from './options.ts';
import { Stack } from './stack.ts';

const write = (text: string): void => void process.stdout.write(text);

/** The one block that a failure ends with: code, text, what to do. */
function printError(error: unknown): void {
  const advice = error instanceof CodedError && error.advice !== undefined ? `\n    ${error.advice}` : '';
  const text = errorText(error).replaceAll('\n', '\n    ');
  process.stderr.write(`\n  ✗ ${errorCode(error)}\n    ${text}${advice}\n\n`);
  if (!(error instanceof CodedError) && error instanceof Error) process.stderr.write(`${error.stack}\n`);
}

const stack = new Stack(systemEnvironment);
let stopping = false;
/** Ctrl-C comes from the terminal, and again from npm and from whoever started this: together they are one signal. */
const sameSignalMs = 1_000;
let firstSignalMs: number | undefined;

async function stop(exitCode: number): Promise<void> {
  stopping = true;
  const fromMs = systemEnvironment.clock.monotonicMs();
  const problems = await stack.stop();
  for (const problem of problems) process.stderr.write(`  ! ${problem}\n`);
  const took = ((systemEnvironment.clock.monotonicMs() - fromMs) / 1000).toFixed(1);
  if (exitCode === 0) write(`  stopped after ${took} s; nothing is left running\n`);
  process.exit(exitCode === 0 && problems.length > 0 ? 1 : exitCode);
}

let starting: Promise<void> = Promise.resolve();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    const nowMs = systemEnvironment.clock.monotonicMs();
    if (firstSignalMs !== undefined && nowMs - firstSignalMs < sameSignalMs) return;
    if (stopping) {
      write('\n  stopping at once\n');
      stack.kill();
      process.exit(130);
    }
    stopping = true;
    firstSignalMs = nowMs;
    write(`\n  ${signal}: requests under way are finished, then everything stops; once more stops at once\n`);
    // A step of the start that is under way ends first, so that what it starts is known and stopped, too.
    void starting.catch(() => {}).then(() => stop(0));
  });
}
for (const kind of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(kind, (error: unknown) => {
    printError(error);
    if (!stopping) void stop(1);
  });
}
// What no signal handler saw: the lock goes with the process.
process.on('exit', () => stack.kill());

const command = upCommand('npm start --').action(async (options: UpOptions) => {
  const throwIfStopped = (): void => {
    if (stopping) throw new CodedError('INTERRUPTED', 'stopped while starting');
  };
  // Loaded only now: the list of flags needs no app.
  starting = import('./up.ts').then(({ up }) => up(options, stack, write, throwIfStopped));
  try {
    await starting;
  } catch (error) {
    if (stopping) return; // the signal's handler stops what there is
    printError(error);
    await stop(1);
  }
});
await command.parseAsync();
