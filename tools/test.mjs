// `npm test`: everything that CI runs but the real vLLM engines. Ends with `N passed, N failed, N skipped`.
import { spawn, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { setPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { node, prepare, printStep, root } from './prepare.mjs';

const usage = `npm test [-- <path or jest option> …]

Installs and builds where needed, checks types and style, then runs every test (unit, int, sim, e2e) against a real
broker and a real database on free ports, and leaves no process behind.

  npm test                       everything
  npm test -- libs/kernel        only the tests under a path (types and style are left out)
  npm test -- --skip-static      without types and style

Hostile input is made up for 60 s beside all else; LINTEL_FUZZ_S=600 for longer, LINTEL_FUZZ_SEED=7 for another run.
`;

const leftoverWaitMs = 3_000;

const args = process.argv.slice(2);
if (args.includes('--help')) {
  process.stdout.write(usage);
  process.exit(0);
}
await prepare();

const counts = { passed: 0, failed: 0, skipped: 0 };
const chosen = args.filter((arg) => arg !== '--skip-static');

function check(label, command, commandArgs) {
  const startMs = Date.now();
  const { status, stdout, stderr } = spawnSync(command, commandArgs, { cwd: root, encoding: 'utf8' });
  if (status === 0) {
    counts.passed++;
    printStep(label, startMs);
    return;
  }
  counts.failed++;
  process.stdout.write(`  ✗ ${label}\n${stdout}${stderr}\n`);
}

/** Whatever the tests make lies below this folder: their temporary folders, and so the data of every server that they start. */
const folder = mkdtempSync(join(tmpdir(), 'lintel-test-'));
const scratch = join(folder, 'tmp');
mkdirSync(scratch);
// Postgres, where root may not run it, is another account and has to pass through.
for (const path of [folder, scratch]) chmodSync(path, 0o711);
const mark = `LINTEL_TEST_RUN=${randomUUID()}`;

/** Processes that a test started and did not end: they carry this run's mark in their environment, or run in its folder or on a file of it. */
function leftovers() {
  const left = [];
  let pids = [];
  try {
    pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  } catch {
    return left; // no /proc (macOS): not checked there
  }
  for (const pid of pids) {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      if (command === '') continue; // a zombie or a kernel thread
      const cwd = readlinkSync(`/proc/${pid}/cwd`);
      if (`${cwd} ${command}`.includes(folder) || readFileSync(`/proc/${pid}/environ`, 'utf8').includes(mark))
        left.push(`process ${pid}: ${command}`);
    } catch {
      continue; // ended meanwhile, or not ours to read
    }
  }
  return left;
}

/** Folders that a test made and did not remove. Caches that are kept for the next file of the run are no leftovers. */
const strayFiles = () =>
  readdirSync(scratch)
    .filter((name) => name.startsWith('lintel-') && !name.startsWith('lintel-test-cache-'))
    .map((name) => `${scratch}/${name}`);

const environment = { ...process.env, [mark.split('=')[0]]: mark.split('=')[1], TMPDIR: scratch };
const jest = [
  '--disable-warning=ExperimentalWarning',
  '--experimental-vm-modules',
  join(root, 'node_modules/jest/bin/jest.js'),
  `--cacheDirectory=${join(tmpdir(), 'lintel-jest-cache')}`,
  '--json',
];
const fuzzSeconds = process.env.LINTEL_FUZZ_S ?? '60';
const fuzzOutput = join(folder, 'fuzz.json');

/** Runs what makes up hostile input beside all else, behind it in priority. Resolves with its exit status. */
function startFuzz() {
  const child = spawn(node, [...jest, `--outputFile=${fuzzOutput}`, '--maxWorkers=2', 'fuzz.e2e.spec'], {
    cwd: root,
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...environment, LINTEL_FUZZ_S: fuzzSeconds },
  });
  setPriority(child.pid, 10);
  return new Promise((resolve) => child.on('close', resolve));
}
const fuzzed = chosen.length === 0 ? startFuzz() : undefined;

if (chosen.length === 0 && !args.includes('--skip-static')) {
  check('types', join(root, 'node_modules/.bin/tsc'), ['-p', '.']);
  check('lint', join(root, 'node_modules/.bin/oxlint'), []);
  check('format', join(root, 'node_modules/.bin/oxfmt'), ['--check']);
}

const output = join(folder, 'jest.json');
const apart = fuzzed === undefined ? [] : ['--testPathIgnorePatterns', 'fuzz\\.e2e\\.spec', '--'];
const main = spawn(node, [...jest, `--outputFile=${output}`, ...apart, ...chosen], {
  cwd: root,
  stdio: ['ignore', 'ignore', 'inherit'],
  env: environment,
});
const status = await new Promise((resolve) => main.on('close', resolve));
const fuzzStatus = await fuzzed;
const levels = {};
const ran = [[output, status]];
if (fuzzed !== undefined) ran.push([fuzzOutput, fuzzStatus]);
for (const [file, exit] of ran) {
  try {
    const result = JSON.parse(readFileSync(file, 'utf8'));
    counts.passed += result.numPassedTests;
    counts.failed += result.numFailedTests + result.numRuntimeErrorTestSuites;
    counts.skipped += result.numPendingTests + result.numTodoTests;
    for (const { name, assertionResults } of result.testResults) {
      const level = /\.(\w+)\.spec\.ts$/.exec(name)?.[1] ?? 'other';
      levels[level] = (levels[level] ?? 0) + assertionResults.filter((test) => test.status === 'passed').length;
    }
  } catch {
    process.stdout.write(`  ✗ jest ended with ${exit} and left no result\n`);
    counts.failed++;
  }
}

const deadline = Date.now() + leftoverWaitMs;
let left = leftovers();
while (left.length > 0 && Date.now() < deadline) {
  await new Promise((resolve) => setTimeout(resolve, 100));
  left = leftovers();
}
for (const what of [...left, ...strayFiles()]) {
  process.stdout.write(`  ✗ left behind: ${what}\n`);
  counts.failed++;
}
rmSync(folder, { recursive: true, force: true });

const byLevel = Object.entries(levels).map(([level, passed]) => `${level} ${passed}`);
process.stdout.write(`\n  by level: ${byLevel.join(', ')}\n`);
process.stdout.write(`\n${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
process.exit(counts.failed === 0 && ran.every(([, exit]) => exit === 0) ? 0 : 1);
