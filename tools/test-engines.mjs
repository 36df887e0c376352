// What `npm run test:engines` runs: the tests that need a real vLLM. See --help.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { readJson, REPO_DIR, seconds, temporaryFolder } from './engines/common.mjs';
import { compareRecordings, readRecording, recordingFacts } from './engines/compare-fixtures.mjs';
import { startControl } from './engines/control.mjs';
import { FIXTURES_DIR, recordFixtures, writeFixtures } from './engines/record-fixtures.mjs';
import { ensureVllm, NEEDS, stopEngines, VLLM_VERSION } from './engines/vllm.mjs';
import { node, prepare } from './prepare.mjs';

const NODE_ARGUMENTS = ['--disable-warning=ExperimentalWarning', '--experimental-vm-modules'];
const JEST = 'node_modules/jest/bin/jest.js';
const JEST_ARGUMENTS = [
  '--config',
  'jest.config.mjs',
  '--testMatch',
  '**/*.engines.spec.ts',
  '--runInBand',
  '--passWithNoTests',
];
const NO_TEST = '(?!)'; // a name pattern that nothing matches: Jest then reports every test as skipped
const ENGINES = ['engine-1', 'engine-2'];
const JEST_LIMIT_MS = 20 * 60_000;
const JEST_END_LIMIT_MS = 5_000;

const HELP = `usage: node tools/test-engines.mjs [--fixtures-only | --no-fixtures] [-- JEST ARGUMENTS]

Runs the tests that need a real engine: vLLM ${VLLM_VERSION} on the CPU with a tiny random model.
  1. installs vLLM and makes the model, where they are missing (LINTEL_CACHE or ~/.cache/lintel)
  2. records vLLM's answers and KV events again and compares their shapes with libs/engines/fixtures/vllm-0.32
  3. starts ${ENGINES.join(' and ')} and runs Jest on **/*.engines.spec.ts, which finds in its environment
       LINTEL_ENGINES_JSON     [{name, url, pid, kvEvents, replay}, ...]
       LINTEL_ENGINES_CONTROL  URL of a small API to kill and start engines (tools/engines/control.mjs)
       LINTEL_ENGINES_PYTHON   a Python that has the openai and anthropic packages
       LINTEL_ENGINES_ADAPTERS {"l0": folder, "l1": folder}
Needs ${NEEDS}. Where these are missing, every test is reported as skipped.
The last line is "N passed, N failed, N skipped"; the exit status is 1 if anything failed.`;

const log = (line) => process.stdout.write(`${line}\n`);

/** The child's output goes through; past the limit it gets SIGTERM, then SIGKILL. */
function runJest(environment, more) {
  const folder = temporaryFolder('lintel-jest-');
  const outputFile = join(folder.path, 'result.json');
  const args = [...NODE_ARGUMENTS, JEST, ...JEST_ARGUMENTS, '--json', '--outputFile', outputFile, ...more];
  return new Promise((resolve) => {
    const child = spawn(node, args, {
      cwd: REPO_DIR,
      env: { ...process.env, ...environment },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const endWithUs = () => child.kill('SIGTERM');
    process.once('exit', endWithUs);
    const timers = [
      setTimeout(() => child.kill('SIGTERM'), JEST_LIMIT_MS),
      setTimeout(() => child.kill('SIGKILL'), JEST_LIMIT_MS + JEST_END_LIMIT_MS),
    ];
    child.once('error', (error) => log(`jest did not start: ${error.message}`));
    child.once('close', (code, signal) => {
      timers.forEach(clearTimeout);
      process.removeListener('exit', endWithUs);
      const result = readJson(outputFile);
      folder.remove();
      if (result) {
        // A file that does not even load counts as one failure.
        resolve({
          passed: result.numPassedTests,
          failed: result.numFailedTests + result.numRuntimeErrorTestSuites,
          skipped: result.numPendingTests + result.numTodoTests,
        });
        return;
      }
      log(
        signal
          ? `jest was ended by ${signal} (its limit is ${seconds(JEST_LIMIT_MS)})`
          : `jest ended with status ${code} and wrote no result`,
      );
      resolve({ passed: 0, failed: 1, skipped: 0 });
    });
  });
}

async function compareFixtures() {
  const committed = readRecording(FIXTURES_DIR);
  if (!committed) {
    log(`no fixtures in ${FIXTURES_DIR}; record them with: node tools/engines/record-fixtures.mjs`);
    return { passed: 0, failed: 1, skipped: 0 };
  }
  const folder = temporaryFolder('lintel-fixtures-');
  try {
    writeFixtures(folder.path, await recordFixtures({ log }));
    const compared = compareRecordings(committed, readRecording(folder.path));
    const different = compared.filter(({ differences }) => differences.length > 0);
    for (const { name, differences } of different) log([`fixture ${name} differs:`, ...differences].join('\n    '));
    if (different.length > 0)
      log('If vLLM is right and the change is wanted, record again: node tools/engines/record-fixtures.mjs');
    log(`fixtures: ${compared.length - different.length} as committed, ${different.length} different`);
    return { passed: compared.length - different.length, failed: different.length, skipped: 0 };
  } finally {
    folder.remove();
  }
}

async function runWithEngines(vllm, jestArguments) {
  const control = await startControl(ENGINES, { log });
  try {
    const environment = {
      LINTEL_ENGINES_JSON: JSON.stringify(control.engines),
      LINTEL_ENGINES_CONTROL: control.url,
      LINTEL_ENGINES_PYTHON: vllm.python,
      LINTEL_ENGINES_ADAPTERS: JSON.stringify(vllm.adapters),
    };
    return await runJest(environment, jestArguments);
  } finally {
    control.close();
  }
}

async function skipAll(reason, { fixtures, jest, jestArguments }) {
  log(reason);
  const results = [];
  const committed = fixtures && readRecording(FIXTURES_DIR);
  if (committed) results.push({ passed: 0, failed: 0, skipped: Object.keys(recordingFacts(committed)).length });
  if (jest)
    results.push(await runJest({ LINTEL_ENGINES_JSON: '[]' }, [...jestArguments, '--testNamePattern', NO_TEST]));
  log(`skipped, not passed: ${reason}`);
  return results;
}

async function runAll({ fixtures, jest, jestArguments }) {
  const vllm = await ensureVllm({ log });
  if (vllm.unavailable) return skipAll(vllm.unavailable, { fixtures, jest, jestArguments });
  try {
    const results = [];
    if (fixtures) results.push(await compareFixtures());
    if (jest) results.push(await runWithEngines(vllm, jestArguments));
    return results;
  } finally {
    await stopEngines();
  }
}

async function main() {
  const own = process.argv.slice(2);
  const jestArguments = own.includes('--') ? own.splice(own.indexOf('--')).slice(1) : [];
  const unknown = own.find((argument) => !['--fixtures-only', '--no-fixtures', '--help', '-h'].includes(argument));
  if (unknown || own.includes('--help') || own.includes('-h')) {
    if (unknown) log(`unknown argument ${unknown}\n`);
    log(HELP);
    process.exitCode = unknown ? 2 : 0;
    return;
  }
  await prepare();
  let interrupted = false;
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, async () => {
      interrupted = true;
      await stopEngines();
      process.exit(130);
    });
  }
  const options = { fixtures: !own.includes('--no-fixtures'), jest: !own.includes('--fixtures-only'), jestArguments };
  const results = await runAll(options).catch((error) => {
    if (!interrupted) log(error.stack);
    return [{ passed: 0, failed: 1, skipped: 0 }];
  });
  if (interrupted) return;
  const sum = (key) => results.reduce((total, result) => total + result[key], 0);
  log(`${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped`);
  process.exitCode = sum('failed') > 0 ? 1 : 0;
}

await main();
