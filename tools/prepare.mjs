// Makes a checkout ready to run, on any Node >= 20: dependencies, then the build, each only when something changed.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');

/** The pinned runtime from the npm package `node`. */
export const node = join(root, 'node_modules/node/bin/node');

const nodeMajorMin = 20;
const progressEveryMs = 5_000;

const lockMark = join(root, 'node_modules/.lintel-installed');
const buildMark = join(root, 'dist/.lintel-built');

export const seconds = (fromMs) => `${((Date.now() - fromMs) / 1000).toFixed(1)} s`;

/** One line for a step that ended: `✓ what      how long`. */
export function printStep(text, fromMs) {
  process.stdout.write(`  ✓ ${text.padEnd(64)} ${seconds(fromMs).padStart(8)}\n`);
}

function fail(text) {
  process.stderr.write(`\n  ✗ ${text}\n`);
  process.exit(1);
}

/** Runs a command quietly; a long one says every few seconds that it goes on, a failed one shows all that it printed. */
function run(label, command, args) {
  const startMs = Date.now();
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
    const progress = setInterval(() => process.stdout.write(`  … ${label} (${seconds(startMs)})\n`), progressEveryMs);
    const ended = (problem) => {
      clearInterval(progress);
      if (problem === undefined) {
        printStep(label, startMs);
        resolve();
      } else fail(`${label}: ${problem}\n${output}`);
    };
    child.on('error', (error) => ended(error.message));
    child.on('exit', (code, signal) => ended(code === 0 ? undefined : `ended with ${signal ?? code}`));
  });
}

const hashOf = (text) => createHash('sha256').update(text).digest('hex');
const marked = (file, value) => existsSync(file) && readFileSync(file, 'utf8') === value;

/** Files whose change asks for a new build, by size and time: quick, and a false alarm only costs two seconds. */
function sourcesState() {
  const list = ['apps', 'libs', 'proto'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true })
      .map((path) => `${folder}/${path}`)
      .filter((path) => /\.(ts|proto)$/.test(path)),
  );
  return hashOf(
    [...list, 'package.json', '.swcrc', 'buf.gen.yaml', 'tools/build.mjs']
      .filter((path) => !path.includes('/src/gen/') && !path.endsWith('.spec.ts'))
      .sort()
      .map((path) => {
        const { size, mtimeMs } = statSync(join(root, path));
        return `${path} ${size} ${mtimeMs}`;
      })
      .join('\n'),
  );
}

/** Installs and builds where needed. Ends the process with the reason when that fails. */
export async function prepare() {
  const major = Number(process.versions.node.split('.')[0]);
  if (major < nodeMajorMin)
    fail(`Node ${process.versions.node} is too old: Lintel needs Node ${nodeMajorMin} or newer to start.`);
  const lock = hashOf(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  if (!existsSync(node) || !marked(lockMark, lock)) {
    await run('dependencies (npm ci)', 'npm', ['ci', '--no-audit', '--no-fund', '--loglevel', 'error']);
    writeFileSync(lockMark, lock);
  }
  const sources = sourcesState();
  if (!marked(buildMark, sources)) {
    await run('build', node, ['tools/build.mjs']);
    writeFileSync(buildMark, sources);
  }
}

/** Runs the pinned Node with these arguments in place of this process: its input, output, signals and exit code. */
export function become(args) {
  const child = spawn(node, args, { stdio: 'inherit' });
  // A terminal's Ctrl-C reaches the child by itself, and once more from here: the child takes signals that come together for one.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => fail(`cannot start ${node}: ${error.message}`));
  child.on('exit', (code, signal) =>
    process.exit(code ?? (signal === 'SIGINT' ? 130 : signal === 'SIGTERM' ? 143 : 1)),
  );
}
