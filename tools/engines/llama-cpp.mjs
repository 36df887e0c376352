// A real llama.cpp from npm alone: installs node-llama-cpp into the cache, makes the tiny GGUF, starts llama-server.mjs.
// As a program: `node tools/engines/llama-cpp.mjs` installs; with `--start N` it also starts N engines until Ctrl-C.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import {
  cacheRoot,
  contentHash,
  isMain,
  plainLog,
  readJson,
  run,
  seconds,
  sleep,
  step,
  TOOLS_DIR,
  withLock,
  writeAtomic,
} from './common.mjs';
import { makeGguf } from './make_gguf.mjs';

export const NODE_LLAMA_CPP_VERSION = '3.22.1';
export const LLAMA_MODEL = 'lintel-tiny';
export const LLAMA_NEEDS = 'Node 20 or newer with npm, about 90 MB of disk, and an npm registry';
const INSTALL_LIMIT_MS = 5 * 60_000;
const CHECK_LIMIT_MS = 60_000;
const START_LIMIT_MS = 30_000;
const STOP_LIMIT_MS = 5_000;
// node-llama-cpp's prebuilt packages without CUDA and Vulkan, by platform and CPU.
const PREBUILT = {
  'linux-x64': 'linux-x64',
  'linux-arm64': 'linux-arm64',
  'linux-arm': 'linux-armv7l',
  'darwin-arm64': 'mac-arm64-metal',
  'darwin-x64': 'mac-x64',
};
const SERVER = join(TOOLS_DIR, 'llama-server.mjs');

class Unavailable extends Error {}

/** The npm on the PATH, else the one beside this Node. */
function npm(args, cwd) {
  const env = {
    PATH: `${process.env.PATH}${delimiter}${dirname(process.execPath)}`,
    npm_config_update_notifier: 'false',
    // npm's own pauses between retries make a machine without a registry wait for minutes.
    npm_config_fetch_retries: '2',
    npm_config_fetch_retry_mintimeout: '1000',
    npm_config_fetch_retry_maxtimeout: '5000',
  };
  return run('npm', args, { cwd, limitMs: INSTALL_LIMIT_MS, env });
}

/** The first error lines that say something. */
function npmReason(stderr) {
  const lines = stderr.split('\n').filter((line) => /^npm (error|ERR!) \S/.test(line));
  return lines.slice(0, 3).join(' | ') || stderr.trim().slice(-300);
}

async function installLibrary(root, log) {
  const prebuilt = PREBUILT[`${process.platform}-${process.arch}`];
  if (!prebuilt)
    throw new Unavailable(`node-llama-cpp has no prebuilt package for ${process.platform} ${process.arch}`);
  const dependencies = {
    'node-llama-cpp': NODE_LLAMA_CPP_VERSION,
    [`@node-llama-cpp/${prebuilt}`]: NODE_LLAMA_CPP_VERSION,
  };
  const manifest = JSON.stringify({ name: 'lintel-llama-cpp', private: true, dependencies });
  const marker = join(root, 'installed.json');
  const hash = contentHash(manifest);
  if (readJson(marker)?.hash === hash && existsSync(join(root, 'node_modules', 'node-llama-cpp'))) return;
  log(`llama.cpp: needs ${LLAMA_NEEDS}; installing into ${root}`);
  rmSync(marker, { force: true });
  writeFileSync(join(root, 'package.json'), manifest);
  await step(log, `llama.cpp: node-llama-cpp ${NODE_LLAMA_CPP_VERSION}`, async () => {
    // No optional packages (CUDA and Vulkan builds, 640 MB) and no scripts (the postinstall would look for a compiler).
    const done = await npm(
      ['install', '--omit=optional', '--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock'],
      root,
    );
    if (done.code !== 0) throw new Unavailable(`npm install node-llama-cpp failed: ${npmReason(done.stderr)}`);
  });
  await step(log, 'llama.cpp: first load', async () => {
    const done = await run(process.execPath, [SERVER, '--lib', root, '--check'], { limitMs: CHECK_LIMIT_MS });
    if (done.code !== 0)
      throw new Unavailable(
        `node-llama-cpp is installed but does not load here: ${done.stderr.trim().split('\n').slice(-3).join(' | ')}`,
      );
  });
  writeAtomic(marker, JSON.stringify({ hash, version: NODE_LLAMA_CPP_VERSION }));
}

function makeModel(root) {
  const modelPath = join(root, `${LLAMA_MODEL}.gguf`);
  const marker = join(root, 'model.json');
  const hash = contentHash(readFileSync(join(TOOLS_DIR, 'make_gguf.mjs')));
  if (readJson(marker)?.hash !== hash || !existsSync(modelPath)) {
    writeAtomic(modelPath, makeGguf());
    writeAtomic(marker, JSON.stringify({ hash }));
  }
  return modelPath;
}

/** Installs what is missing. Returns {libDir, modelPath} or {unavailable: reason}. */
export async function ensureLlamaCpp({ log = plainLog } = {}) {
  const root = join(cacheRoot(), `llama-cpp-${NODE_LLAMA_CPP_VERSION}`);
  try {
    mkdirSync(root, { recursive: true });
    return await withLock(root, log, async () => {
      await installLibrary(root, log);
      return { libDir: root, modelPath: makeModel(root) };
    });
  } catch (error) {
    if (error instanceof Unavailable || ['EACCES', 'EROFS', 'ENOSPC'].includes(error.code))
      return { unavailable: `cannot: ${error.message}` };
    throw error;
  }
}

/**
 * Starts one llama.cpp server as a child that ends with this process.
 * Returns {name, url, pid, port, kill(signal), exited, stop()}; `node` is the Node binary to run it with.
 */
export async function startLlamaServer({
  name = LLAMA_MODEL,
  port = 0,
  parallel = 4,
  contextSize = 2048,
  node = process.execPath,
  log = plainLog,
} = {}) {
  const library = await ensureLlamaCpp({ log });
  if (library.unavailable) throw new Error(library.unavailable);
  const began = Date.now();
  const args = [
    SERVER,
    '--lib',
    library.libDir,
    '--model',
    library.modelPath,
    '--port',
    port,
    '--parallel',
    parallel,
    '--ctx-size',
    contextSize,
    '--alias',
    LLAMA_MODEL,
    '--exit-with-stdin',
  ];
  const child = spawn(node, args.map(String), { stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdin.on('error', () => {});
  let stderr = '';
  child.stderr.on('data', (chunk) => (stderr = (stderr + chunk).slice(-8000)));
  const exited = new Promise((resolve) => child.once('close', (status, signal) => resolve({ status, signal })));
  child.once('error', (error) => (stderr += error.message));
  const firstLine = new Promise((resolve) => createInterface({ input: child.stdout }).once('line', resolve));
  const line = await Promise.race([
    firstLine,
    exited.then(() => undefined),
    sleep(START_LIMIT_MS, undefined, { ref: false }),
  ]);
  if (!line) {
    child.kill('SIGKILL');
    throw new Error(`llama-server.mjs was not ready within ${seconds(START_LIMIT_MS)}:\n${stderr}`);
  }
  const { url } = JSON.parse(line);
  log(`llama.cpp: engine ${name} ready at ${url}, pid ${child.pid} (${seconds(Date.now() - began)})`);
  const kill = (signal = 'SIGTERM') => child.kill(signal);
  const stop = async () => {
    kill('SIGTERM');
    const ended = await Promise.race([exited, sleep(STOP_LIMIT_MS, undefined, { ref: false })]);
    if (!ended) kill('SIGKILL');
    return exited;
  };
  return { name, url, pid: child.pid, port: Number(new URL(url).port), kill, exited, stop };
}

async function main() {
  const [flag, count] = process.argv.slice(2);
  if (flag && flag !== '--start') {
    console.log(
      `usage: node tools/engines/llama-cpp.mjs [--start N]\nInstalls node-llama-cpp ${NODE_LLAMA_CPP_VERSION} and a tiny model into ${cacheRoot()}; with --start, runs N engines until Ctrl-C.\nNeeds ${LLAMA_NEEDS}.`,
    );
    return;
  }
  const library = await ensureLlamaCpp();
  console.log(library.unavailable ?? JSON.stringify(library));
  if (library.unavailable) process.exitCode = 1;
  if (library.unavailable || !flag) return;
  const servers = [];
  for (let index = 1; index <= (Number(count) || 1); index++)
    servers.push(await startLlamaServer({ name: `llama-${index}` }));
  for (const { name, url, pid } of servers) console.log(JSON.stringify({ name, url, pid }));
  await new Promise((resolve) => ['SIGINT', 'SIGTERM'].forEach((signal) => process.once(signal, resolve)));
  await Promise.all(servers.map((server) => server.stop()));
}

if (isMain(import.meta.url)) await main();
