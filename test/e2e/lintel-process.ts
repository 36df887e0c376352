import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemTimers } from '#libs/kernel';
import { env } from '#libs/nest-kit';
import { eventually } from '#libs/testkit';

const root = join(import.meta.dirname, '../..');
const node = join(root, 'node_modules/node/bin/node');
const startMsMax = 100_000;

export interface Exit {
  readonly code: number | null;
  readonly output: string;
}

/** A built program as a child, as a user runs it. `npm test` builds first; after an edit `npm run build` does. */
export class Program {
  readonly #child: ChildProcess;
  readonly exited: Promise<Exit>;
  readonly #listeners = new Set<() => void>();
  output = '';

  constructor(
    app: 'standalone' | 'cli' | 'engine-sim' | 'gateway' | 'diagnostics',
    args: readonly string[],
    variables: Record<string, string> = {},
  ) {
    const main = join(root, `dist/apps/${app}/src/main.js`);
    if (!existsSync(main)) throw new Error(`${main} is not there: npm run build`);
    const mark = env.variable('LINTEL_TEST_RUN');
    this.#child = spawn(node, [main, ...args], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: env.forChild({
        ...(mark === undefined ? {} : { LINTEL_TEST_RUN: mark }),
        LINTEL_CACHE: env.cache,
        ...variables,
      }),
    });
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.on('data', (chunk: Buffer) => {
        this.output += String(chunk);
        for (const look of this.#listeners) look();
      });
    this.exited = new Promise((resolve) => this.#child.once('close', (code) => resolve({ code, output: this.output })));
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Waits for a text in what it prints; an end without it is a failure at once. */
  async says(text: string | RegExp, msMax = startMsMax): Promise<void> {
    const found = (): boolean => (typeof text === 'string' ? this.output.includes(text) : text.test(this.output));
    const waiting = Promise.withResolvers<void>();
    const look = (): void => {
      if (found()) waiting.resolve();
    };
    const give = (why: string) => (): void => waiting.reject(new Error(`${why} without "${text}":\n${this.output}`));
    const late = systemTimers.after(msMax, give(`${msMax} ms passed`));
    this.#listeners.add(look);
    void this.exited.then(give('it ended'));
    look();
    try {
      await waiting.promise;
    } finally {
      this.#listeners.delete(look);
      late.cancel();
    }
  }

  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<Exit> {
    if (this.running) this.#child.kill(signal);
    return await this.exited;
  }
}

export interface Lintel {
  readonly program: Program;
  readonly gatewayUrl: string;
  readonly apiUrl: string;
  readonly apiKey: string;
  readonly durability: string;
}

/** `npm start -- …` without npm, once it serves. */
export async function startLintel(
  home: string,
  args: readonly string[] = [],
  variables: Record<string, string> = {},
): Promise<Lintel> {
  const program = new Program('standalone', ['--port', '0', '--api-port', '0', '--home', home, ...args], variables);
  try {
    await program.says('npx lintel log --follow');
    const connection = JSON.parse(await readFile(join(home, 'connection.json'), 'utf8')) as Record<string, string>;
    const apiKey = await readFile(join(home, 'api-key'), 'utf8').catch(() => '');
    return {
      program,
      gatewayUrl: connection['gatewayUrl'] ?? '',
      apiUrl: connection['apiUrl'] ?? '',
      apiKey: apiKey.trim(),
      durability: connection['durability'] ?? '',
    };
  } catch (error) {
    await program.end('SIGKILL');
    throw error;
  }
}

/** `lintel …` on that home: what it printed and its exit code. */
export async function lintel(home: string, ...args: string[]): Promise<Exit> {
  return await new Program('cli', ['--home', home, ...args]).exited;
}

/** Processes that run on this folder: its broker, its database, itself. */
export function processesOn(folder: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
        return command.includes(folder) ? [`${pid} ${command}`] : [];
      } catch {
        return []; // ended meanwhile
      }
    });
}

/** What a killed Lintel left, so that a failed test leaves nothing. */
export async function endAllOn(folder: string): Promise<void> {
  for (const line of processesOn(folder)) {
    try {
      process.kill(Number(line.split(' ')[0]), 'SIGKILL');
    } catch {
      continue; // ended meanwhile
    }
  }
  await eventually(() => {
    if (processesOn(folder).length > 0) throw new Error('processes are left');
  });
}

export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'lintel-e2e-'));
  await chmod(folder, 0o711);
  return folder;
}

export async function removeFolder(folder: string): Promise<void> {
  await endAllOn(folder);
  await rm(folder, { recursive: true, force: true });
}

/** No program can be found, and nothing was fetched before: a machine where no nats-server can be had. */
export const bareMachine = (folder: string): Record<string, string> => ({
  PATH: join(folder, 'no-programs'),
  LINTEL_CACHE: join(folder, 'no-cache'),
});
