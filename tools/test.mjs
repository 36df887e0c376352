// `npm test`: everything that CI runs but the real vLLM engines. Ends with `N passed, N failed, N skipped`.
import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { node, prepare, printStep, root } from './prepare.mjs';

const usage = `npm test [-- <path or jest option> …]

Installs and builds where needed, checks types and style, then runs every test (unit, int, sim, e2e) against a real
broker and a real database on free ports, and leaves no process behind.

  npm test                       everything
  npm test -- libs/kernel        only the tests under a path (types and style are left out)
  npm test -- --skip-static      without types and style
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

if (chosen.length === 0 && !args.includes('--skip-static')) {
  check('types', join(root, 'node_modules/.bin/tsc'), ['-p', '.']);
  check('lint', join(root, 'node_modules/.bin/oxlint'), []);
  check('format', join(root, 'node_modules/.bin/oxfmt'), ['--check']);
}

/** Processes that carry this run's mark in their environment: started by a test and not ended by it. */
function leftovers(mark) {
  try {
    return readdirSync('/proc').filter((pid) => {
      if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return false;
      try {
        return readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`LINTEL_TEST_RUN=${mark}`);
      } catch {
        return false; // ended meanwhile, or not ours to read
      }
    });
  } catch {
    return []; // no /proc (macOS): not checked there
  }
}

const folder = mkdtempSync(join(tmpdir(), 'lintel-test-'));
const mark = randomUUID();
const output = join(folder, 'jest.json');
const { status } = spawnSync(
  node,
  [
    '--disable-warning=ExperimentalWarning',
    '--experimental-vm-modules',
    join(root, 'node_modules/jest/bin/jest.js'),
    '--json',
    `--outputFile=${output}`,
    ...chosen,
  ],
  { cwd: root, stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, LINTEL_TEST_RUN: mark } },
);
try {
  const result = JSON.parse(readFileSync(output, 'utf8'));
  counts.passed += result.numPassedTests;
  counts.failed += result.numFailedTests + result.numRuntimeErrorTestSuites;
  counts.skipped += result.numPendingTests + result.numTodoTests;
} catch {
  process.stdout.write(`  ✗ jest ended with ${status} and left no result\n`);
  counts.failed++;
}
rmSync(folder, { recursive: true, force: true });

const deadline = Date.now() + leftoverWaitMs;
let left = leftovers(mark);
while (left.length > 0 && Date.now() < deadline) {
  await new Promise((resolve) => setTimeout(resolve, 100));
  left = leftovers(mark);
}
for (const pid of left) {
  let command = '';
  try {
    command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    continue; // ended meanwhile
  }
  process.stdout.write(`  ✗ left behind: ${pid} ${command}\n`);
  counts.failed++;
}

process.stdout.write(`\n${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
process.exit(counts.failed === 0 && status === 0 ? 0 : 1);
