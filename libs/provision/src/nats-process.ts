import { spawn } from 'node:child_process';
import { open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import type { Environment } from '#libs/kernel';
import { CodedError } from '#libs/kernel';
import { isAlive } from './postgres-process.ts';

const readyMsMax = 60_000;
const termMsMax = 10_000;
const killMsMax = 3_000;
const pollMs = 10;
const greetingMsMax = 1_000;
const greetingBytesMax = 64 * 1024;
const logBytesMax = 8 * 1024 * 1024;

/** The first line of a NATS server says which it is. Undefined when nobody or somebody else answers. */
export async function greeting(port: number, host = '127.0.0.1'): Promise<{ version: string } | undefined> {
  return await new Promise((done) => {
    let text = '';
    const socket = connect({ host, port });
    const end = (answer: { version: string } | undefined): void => {
      socket.destroy();
      done(answer);
    };
    socket.setTimeout(greetingMsMax, () => end(undefined));
    socket.on('error', () => end(undefined));
    socket.on('close', () => end(undefined));
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      const version = /^INFO .*"version":"([^"]+)".*\r\n/s.exec(text)?.[1];
      if (version !== undefined) end({ version });
      else if (text.length > greetingBytesMax) end(undefined);
    });
  });
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

/** The wanted port when it is free, else any free one. @throws NATS_NO_PORT */
export async function freeNatsPort(wanted?: number): Promise<number> {
  const port = (wanted === undefined ? undefined : await canListen(wanted)) ?? (await canListen(0));
  if (port !== undefined) return port;
  throw new CodedError('NATS_NO_PORT', 'no free port on 127.0.0.1', {
    advice: 'Close programs that hold ports, or set LINTEL_NATS_URL to a running nats-server.',
  });
}

/** True when `pid` is a server of exactly this configuration file, and not another process that has its number now. */
export async function isNatsOf(configFile: string, pid: number): Promise<boolean> {
  if (!Number.isInteger(pid) || pid <= 1 || !isAlive(pid)) return false;
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => undefined);
  if (command !== undefined) return command.split('\0').includes(configFile);
  return await new Promise((done) => {
    const ps = spawn('ps', ['-o', 'args=', '-p', String(pid)], { stdio: ['ignore', 'pipe', 'ignore'] });
    let text = '';
    ps.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
    ps.on('error', () => done(false));
    ps.on('close', () => done(text.includes(configFile)));
  });
}

export interface NatsStart {
  readonly program: string;
  readonly configFile: string;
  readonly port: number;
  readonly pidFile: string;
  readonly logFile: string;
  readonly environment: Environment;
  readonly log?: (line: string) => void;
}

async function lastLogLines(file: string): Promise<string> {
  const text = await readFile(file, 'utf8').catch(() => '');
  return text.trimEnd().split('\n').slice(-4).join(' | ');
}

/**
 * Starts the server and waits until it takes connections, which it does once JetStream has read its files. A session
 * of its own, so that Ctrl-C in the terminal reaches us first.
 * @throws NATS_START_FAILED with the end of its log
 */
export async function startNats(start: NatsStart): Promise<number> {
  const size = await stat(start.logFile).then(
    (found) => found.size,
    () => 0,
  );
  const file = await open(start.logFile, size > logBytesMax ? 'w' : 'a', 0o600);
  let failure: string | undefined;
  const child = spawn(start.program, ['-c', start.configFile], {
    stdio: ['ignore', file.fd, file.fd],
    cwd: '/',
    detached: true,
  });
  child.on('error', (error) => (failure = error.message));
  child.on('exit', (code, signal) => (failure = `exited with ${signal ?? code}`));
  child.unref();
  const { clock, timers } = start.environment;
  const startedMs = clock.monotonicMs();
  let saidMs = startedMs;
  try {
    if (child.pid !== undefined) await writeFile(start.pidFile, `${child.pid}\n`, { mode: 0o600 });
    for (;;) {
      if (failure !== undefined) break;
      if (child.pid !== undefined && (await greeting(start.port)) !== undefined && failure === undefined)
        return child.pid;
      const nowMs = clock.monotonicMs();
      if (nowMs - startedMs > readyMsMax) {
        failure = `not ready after ${readyMsMax} ms`;
        child.kill('SIGKILL');
        break;
      }
      if (nowMs - saidMs > 2_000) {
        saidMs = nowMs;
        start.log?.(`nats: reading the log's files, ${Math.round((nowMs - startedMs) / 1000)} s so far`);
      }
      await timers.sleep(pollMs);
    }
  } finally {
    await file.close();
  }
  await rm(start.pidFile, { force: true });
  throw new CodedError('NATS_START_FAILED', `nats-server ${failure}: ${await lastLogLines(start.logFile)}`, {
    advice: `Read ${start.logFile}.`,
  });
}

/** SIGTERM, then SIGKILL, each bounded. Resolves when the process is gone. */
export async function stopNats(pid: number, environment: Environment): Promise<void> {
  for (const [signal, waitMsMax] of [
    ['SIGTERM', termMsMax],
    ['SIGKILL', killMsMax],
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
