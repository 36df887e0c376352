// What the benches share: parts from dist, medians, CPU time of a process, pinning, servers of one bench.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { node, root } from '../prepare.mjs';

export { node, root };

const stopMsMax = 10_000;
const ticksPerSecond = 100;

export const dist = (lib) => import(join(root, 'dist/libs', lib, 'src/index.js'));

export const median = (list) => percentile(list, 0.5);

/** NaN of nothing. */
export function percentile(list, share) {
  if (list.length === 0) return Number.NaN;
  const sorted = Float64Array.from(list).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

/** "Intel Xeon …, 2 cores, Node v24" */
export const machine = () => `${cpus()[0]?.model ?? 'unknown CPU'}, ${cpus().length} cores, Node ${process.version}`;

/** On-CPU seconds (user and system) of a whole process. Linux only. */
export function cpuSeconds(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

/** On-CPU seconds of a process and its children, also of those that have ended. */
export function treeCpuSeconds(pid) {
  const kids = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean);
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ended = (Number(fields[13]) + Number(fields[14])) / ticksPerSecond;
  return [pid, ...kids].reduce((sum, one) => sum + (existsSync(`/proc/${one}/stat`) ? cpuSeconds(one) : 0), ended);
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Asks until `look` answers something; its errors count as nothing yet. */
export async function until(what, look, msMax = 20_000) {
  const fromMs = performance.now();
  for (;;) {
    const found = await Promise.resolve()
      .then(look)
      .catch(() => undefined);
    if (found !== undefined && found !== false) return found;
    if (performance.now() - fromMs > msMax) throw new Error(`${what}: not within ${msMax} ms`);
    await sleep(25);
  }
}

const hasTaskset = process.platform === 'linux' && existsSync('/usr/bin/taskset');

/** Pins this process and what it starts from now on. Without taskset, or with one core, nothing is pinned and the result says so. */
export const cores =
  hasTaskset && cpus().length >= 2
    ? { load: '0', test: '1', said: 'pinned' }
    : { load: '', test: '', said: 'not pinned' };

/** This process and all that it starts without naming a core go to the core of the load. */
export function pinSelf() {
  if (cores.load !== '') spawnSync('taskset', ['-a', '-cp', cores.load, String(process.pid)]);
}

export async function freePort() {
  const { createServer } = await import('node:net');
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const children = new Set();

/** A child process on one core. Its output is kept to be shown when it fails. */
export function start(core, command, args, options = {}) {
  const pinned = core === '' ? [command, ...args] : ['taskset', '-c', core, command, ...args];
  const child = spawn(pinned[0], pinned.slice(1), {
    cwd: root,
    stdio: ['pipe', 'pipe', 'pipe'],
    ...options,
    env: { ...process.env, ...options.env },
  });
  child.output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk) => (child.output = (child.output + chunk).slice(-16_384)));
  }
  child.on('error', (error) => (child.output += error.message));
  child.on('exit', () => children.delete(child));
  children.add(child);
  return child;
}

/** A child that says `{"ready":true,…}` on a line once it serves. */
export async function ready(child, name, msMax) {
  const look = () => {
    const line = /^\{"ready".*\}$/m.exec(child.output)?.[0];
    if (line !== undefined) return JSON.parse(line);
    return child.exitCode === null ? undefined : { failed: true };
  };
  const said = await until(`${name} ready`, look, msMax);
  if (said.failed === true) throw new Error(`${name} ended: ${child.output}`);
  return said;
}

export async function stop(child) {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  const late = setTimeout(() => child.kill('SIGKILL'), stopMsMax);
  await gone;
  clearTimeout(late);
}

/** Runs a bench in a folder of its own; what it started ends with it, also on Ctrl-C. */
export async function bench(work) {
  const home = mkdtempSync(join(tmpdir(), 'lintel-bench-'));
  const undo = [];
  const end = async () => {
    for (const step of undo.splice(0).toReversed()) await Promise.resolve(step()).catch(() => {});
    await Promise.all([...children].map(stop));
    rmSync(home, { recursive: true, force: true });
  };
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void end().then(() => process.exit(130)));
  try {
    await work({ home, onEnd: (step) => undo.push(step) });
  } catch (error) {
    process.stderr.write(`${error?.stack ?? error}\n`);
    process.exitCode = 1;
  } finally {
    await end();
  }
}

/** A nats-server of the bench. `syncAlways: false` measures the code and not the disk. */
export async function benchNats({ home, onEnd }, options = {}) {
  const { provideNats } = await dist('provision');
  const { env } = await dist('nest-kit');
  const server = await provideNats({ home, cacheDir: env.cache, log: () => {}, restart: false, ...options });
  if ('unavailable' in server) throw new Error(server.advice);
  onEnd(() => server.stop());
  return server;
}

/** Runs `work` under the CPU profiler where a file is named: for whoever improves what a bench measures. */
export async function profiled(file, work) {
  if (file === undefined) return await work();
  const { Session } = await import('node:inspector/promises');
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.start');
  try {
    return await work();
  } finally {
    const { profile } = await session.post('Profiler.stop');
    writeFileSync(file, JSON.stringify(profile));
    session.disconnect();
  }
}

let failed = false;

/** Prints a verdict and makes the process fail where a goal is missed. */
export function verdict(reached, goal) {
  if (!reached) {
    failed = true;
    process.exitCode = 1;
  }
  return `(goal ${goal}: ${reached ? 'reached' : 'MISSED'})`;
}

export const anyMissed = () => failed;
export const say = (line = '') => process.stdout.write(`${line}\n`);
