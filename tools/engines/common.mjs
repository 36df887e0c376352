// Small helpers shared by the engine tools: cache folder, locks, bounded child processes, free ports.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export const TOOLS_DIR = dirname(fileURLToPath(import.meta.url));
export const REPO_DIR = dirname(dirname(TOOLS_DIR));
export const LOCK_LIMIT_MS = 30 * 60_000; // how long one process waits while another one installs

export { sleep };

/** The folder that holds everything these tools download or make: LINTEL_CACHE, or ~/.cache/lintel. */
export function cacheRoot() {
  return process.env.LINTEL_CACHE || join(homedir(), '.cache', 'lintel');
}

export function seconds(ms) {
  return `${(ms / 1000).toFixed(1)}s`;
}

/** Runs one named step and prints one line for it with its duration. */
export async function step(log, name, work) {
  const started = Date.now();
  const result = await work();
  log(`${name} (${seconds(Date.now() - started)})`);
  return result;
}

/** sha256 over the contents of files and plain strings, in order. */
export function contentHash(...parts) {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part).update('\0');
  return hash.digest('hex');
}

export function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}

/** Writes a file so that readers see the old or the new content, never half of it. */
export function writeAtomic(path, text) {
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, text);
  renameSync(temporary, path);
}

/** The last lines of a log file, for error messages. Reads at most 64 KiB. */
export function logTail(path, lines = 30) {
  if (!existsSync(path)) return '(no log)';
  const size = statSync(path).size;
  const length = Math.min(size, 65_536);
  const buffer = Buffer.alloc(length);
  const fd = openSync(path, 'r');
  readSync(fd, buffer, 0, length, size - length);
  closeSync(fd);
  return buffer.toString('utf8').trimEnd().split('\n').slice(-lines).join('\n');
}

/** A new temporary folder that is removed at the latest when this process ends by itself. */
export function temporaryFolder(prefix) {
  const path = mkdtempSync(join(tmpdir(), prefix));
  const remove = () => rmSync(path, { recursive: true, force: true });
  process.once('exit', remove);
  return {
    path,
    remove: () => {
      process.removeListener('exit', remove);
      remove();
    },
  };
}

/** Runs a command to its end. Returns {code, stdout, stderr}; code is null after the time limit (the child is killed). */
export function run(command, args, { env, cwd, input, limitMs = 60_000, maxOutput = 4_000_000 } = {}) {
  return new Promise((resolve) => {
    let stdout = '';
    let stderr = '';
    let timedOut = false;
    const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] });
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, limitMs);
    child.stdout.on('data', (chunk) => (stdout = (stdout + chunk).slice(-maxOutput)));
    child.stderr.on('data', (chunk) => (stderr = (stderr + chunk).slice(-maxOutput)));
    child.stdin.on('error', () => {});
    child.stdin.end(input ?? '');
    child.on('error', (error) => {
      clearTimeout(timer);
      resolve({ code: -1, stdout, stderr: error.message });
    });
    child.on('close', (code) => {
      clearTimeout(timer);
      if (timedOut) stderr += `\n(stopped after the limit of ${seconds(limitMs)})`;
      resolve({ code: timedOut ? null : code, stdout, stderr });
    });
  });
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** Lets one process at a time do `work` for a folder; a lock left by a dead process is taken over. */
export async function withLock(folder, log, work) {
  mkdirSync(folder, { recursive: true });
  const lock = join(folder, '.lock');
  const deadline = Date.now() + LOCK_LIMIT_MS;
  for (let waited = false; ; waited = true) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' });
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
      const owner = Number(readFileSync(lock, { encoding: 'utf8', flag: 'a+' }));
      const fresh = existsSync(lock) && Date.now() - statSync(lock).mtimeMs < 5_000;
      if (!fresh && (!owner || !isAlive(owner))) {
        rmSync(lock, { force: true });
        continue;
      }
      if (Date.now() > deadline)
        throw new Error(`process ${owner} has held ${lock} for ${seconds(LOCK_LIMIT_MS)}; end it or remove the file`, {
          cause: error,
        });
      if (!waited) log(`waiting for process ${owner}, which is preparing ${folder}`);
      await sleep(500);
    }
  }
  try {
    return await work();
  } finally {
    rmSync(lock, { force: true });
  }
}

/** Free loopback TCP ports, all different (each is held open until the last one is found). */
export async function freePorts(count) {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise((resolve, reject) => {
          const server = createServer();
          server.once('error', reject);
          server.listen(0, '127.0.0.1', () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Polls `check` until it returns a truthy value; throws `message()` when the limit is over. */
export async function waitFor(check, { limitMs, everyMs = 100, message }) {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const value = await check();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(message());
    await sleep(everyMs);
  }
}

/** GET that answers true on 200 and false on anything else, within one second. */
export async function isHealthy(url) {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(1000) });
    await response.arrayBuffer();
    return response.status === 200;
  } catch {
    return false;
  }
}

export function plainLog(line) {
  process.stderr.write(`${line}\n`);
}

/** True when the module was started as a program (not imported). */
export function isMain(metaUrl) {
  return Boolean(process.argv[1]) && fileURLToPath(metaUrl) === process.argv[1];
}
