import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { open, readFile, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Environment } from '#libs/kernel';
import { CodedError } from '#libs/kernel';
import type { PostgresUser } from './postgres-user.ts';

const run = promisify(execFile);

/** Crash recovery reads the whole write-ahead log since the last checkpoint, which `max_wal_size` bounds. */
const readyMsMax = 60_000;
const fastStopMsMax = 10_000;
const immediateStopMsMax = 3_000;
const pollMs = 20;
const logBytesMax = 8 * 1024 * 1024;

/** An orphan that has ended stays a zombie where process 1 does not collect it, as in many containers. */
function isZombie(pid: number): boolean {
  try {
    return /^\d+ \(.*\) Z/s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !isZombie(pid);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** What a running server says of itself in its own data folder. */
export interface PostmasterFile {
  readonly pid: number;
  readonly port: number;
  readonly ready: boolean;
}

export async function readPostmasterFile(dataDir: string): Promise<PostmasterFile | undefined> {
  const text = await readFile(join(dataDir, 'postmaster.pid'), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  const lines = text.split('\n');
  return { pid: Number(lines[0]), port: Number(lines[3]), ready: lines[7]?.trim() === 'ready' };
}

/** True when `pid` is a server on exactly this data folder, and not another process that came to have its number. */
export async function isServerOf(dataDir: string, pid: number): Promise<boolean> {
  if (!isAlive(pid)) return false;
  const command =
    (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => undefined)) ??
    (await run('ps', ['-o', 'args=', '-p', String(pid)]).then(
      ({ stdout }) => stdout,
      () => '',
    ));
  return command.split(/[\0\s]/).includes(dataDir);
}

async function canListen(port: number): Promise<number | undefined> {
  return await new Promise((done) => {
    const server = createServer();
    server.once('error', () => done(undefined));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      const { port: got } = server.address() as { port: number };
      server.close(() => done(got));
    });
  });
}

/** The wanted port when it is free, else any free one. */
export async function freePort(wanted: number | undefined): Promise<number> {
  const port = (wanted === undefined ? undefined : await canListen(wanted)) ?? (await canListen(0));
  if (port !== undefined) return port;
  throw new CodedError('POSTGRES_NO_PORT', 'no free port on 127.0.0.1', {
    advice: 'Close programs that hold ports, or set LINTEL_DATABASE_URL to a running Postgres.',
  });
}

export interface ServerStart {
  readonly postgres: string;
  readonly user: PostgresUser;
  readonly dataDir: string;
  readonly logFile: string;
  readonly port: number;
  readonly settings: Readonly<Record<string, string>>;
  readonly environment: Environment;
  readonly log: (line: string) => void;
}

async function lastLogLines(file: string): Promise<string> {
  const text = await readFile(file, 'utf8').catch(() => '');
  return text.trimEnd().split('\n').slice(-4).join(' | ');
}

/**
 * Starts the server and waits until it takes connections. It is a session of its own, so that Ctrl-C in the terminal reaches us first.
 * @throws POSTGRES_START_FAILED with the end of its log
 */
export async function startServer(start: ServerStart): Promise<number> {
  const size = await stat(start.logFile).then(
    (found) => found.size,
    () => 0,
  );
  const log = await open(start.logFile, size > logBytesMax ? 'w' : 'a', 0o600);
  const args = ['-D', start.dataDir, '-p', String(start.port)];
  for (const [name, value] of Object.entries(start.settings)) args.push('-c', `${name}=${value}`);
  let failure: string | undefined;
  const child = start.user.spawn(start.postgres, args, { stdio: ['ignore', log.fd, log.fd], cwd: '/' });
  child.on('error', (error) => (failure = error.message));
  child.on('exit', (code, signal) => (failure = `exited with ${signal ?? code}`));
  child.unref();
  const { clock, timers } = start.environment;
  const startedMs = clock.monotonicMs();
  let saidMs = startedMs;
  try {
    for (;;) {
      if (failure !== undefined) break;
      const file = await readPostmasterFile(start.dataDir);
      if (file?.pid === child.pid && file?.ready) return file.pid;
      const nowMs = clock.monotonicMs();
      if (nowMs - startedMs > readyMsMax) {
        failure = `not ready after ${readyMsMax} ms`;
        child.kill('SIGKILL');
        break;
      }
      if (nowMs - saidMs > 2_000) {
        saidMs = nowMs;
        start.log(`postgres: recovering, ${Math.round((nowMs - startedMs) / 1000)} s so far`);
      }
      await timers.sleep(pollMs);
    }
  } finally {
    await log.close();
  }
  throw new CodedError('POSTGRES_START_FAILED', `Postgres ${failure}: ${await lastLogLines(start.logFile)}`, {
    advice: `Read ${start.logFile}. If the data folder is beyond repair, remove ${start.dataDir}: everything but request records older than the stream is rebuilt from the log.`,
  });
}

/** Fast shutdown, then immediate, then kill; each bounded. Resolves when the process is gone. */
export async function stopServer(pid: number, environment: Environment): Promise<void> {
  for (const [signal, waitMsMax] of [
    ['SIGINT', fastStopMsMax],
    ['SIGQUIT', immediateStopMsMax],
    ['SIGKILL', immediateStopMsMax],
  ] as const) {
    try {
      process.kill(pid, signal);
    } catch {
      return;
    }
    const untilMs = environment.clock.monotonicMs() + waitMsMax;
    while (environment.clock.monotonicMs() < untilMs) {
      if (!isAlive(pid)) return;
      await environment.timers.sleep(pollMs);
    }
  }
}

/** A pid file whose number now belongs to another program would keep the server from starting. */
export async function dropStalePostmasterFile(dataDir: string): Promise<void> {
  const file = await readPostmasterFile(dataDir);
  if (file === undefined || (await isServerOf(dataDir, file.pid))) return;
  if (isAlive(file.pid)) await rm(join(dataDir, 'postmaster.pid'), { force: true });
}
