// What .ci/run runs: npm test, npm run test:engines, the deployment files, then the README's first steps in a fresh clone.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const startMsMax = 10 * 60_000;
const stopMsMax = 60_000;
const requestMsMax = 30_000;
/** A part that takes longer is ended and counts as failed: all of it has to fit into 90 minutes. */
const partMsMax = 40 * 60_000;
const total = { passed: 0, failed: 0, skipped: 0 };

const usage = `node tools/ci.mjs [test] [engines] [deploy] [clone]

What .ci/run runs. Without a name all parts, one after another:
  test      npm test
  engines   npm run test:engines
  deploy    the deployment files by their real tools
  clone     a fresh clone as a new user has it: npm start, a streamed request, lintel why, replay, verify, stop
Ends with \`N passed, N failed, N skipped\`.
`;

/** Runs a part, shows what it prints, and adds up the counts of its last line. */
function part(name, command, args) {
  process.stdout.write(`\n=== ${name}\n`);
  return new Promise((resolve) => {
    // A group of its own, so that a part that hangs is ended with all that it started.
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'], detached: true });
    let output = '';
    const end = () => process.kill(-child.pid, 'SIGKILL');
    process.once('exit', end);
    let late = false;
    const limit = setTimeout(() => {
      late = true;
      process.stdout.write(`\n  ✗ ${name} is not done after ${partMsMax / 60_000} minutes and is ended\n`);
      end();
    }, partMsMax);
    child.stdout.on('data', (chunk) => {
      output = (output + chunk).slice(-4_000);
      process.stdout.write(chunk);
    });
    child.on('error', (error) => {
      clearTimeout(limit);
      process.off('exit', end);
      process.stdout.write(`${error.message}\n`);
      total.failed++;
      resolve();
    });
    child.on('close', (code) => {
      clearTimeout(limit);
      process.off('exit', end);
      const counts = late ? undefined : [...output.matchAll(/^(\d+) passed, (\d+) failed, (\d+) skipped$/gm)].at(-1);
      if (counts === undefined) total.failed++;
      else
        for (const [index, key] of ['passed', 'failed', 'skipped'].entries()) total[key] += Number(counts[index + 1]);
      if (counts !== undefined && code !== 0 && counts[2] === '0') total.failed++;
      resolve();
    });
  });
}

function expect(name, holds, detail) {
  total[holds ? 'passed' : 'failed']++;
  process.stdout.write(`  ${holds ? '✓' : '✗'} ${name}${holds ? '' : `: ${detail}`}\n`);
}

const alive = (pid) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

/** Processes whose command names the folder: what runs from it or on it. Linux only. */
function processesOn(path) {
  let pids = [];
  try {
    pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  } catch {
    return []; // no /proc (macOS)
  }
  return pids.flatMap((pid) => {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      return command.includes(path) ? [`${pid} ${command}`] : [];
    } catch {
      return []; // ended meanwhile
    }
  });
}

/** Bare clone, `npm start`, one streamed request, `why` for it, `replay`, stop: nothing left. */
async function newcomer() {
  process.stdout.write('\n=== a fresh clone, as a new user\n');
  const folder = mkdtempSync(join(tmpdir(), 'lintel-clone-'));
  const clone = join(folder, 'lintel');
  let child;
  try {
    const cloned = spawnSync('git', ['clone', '--quiet', '--no-hardlinks', root, clone], { encoding: 'utf8' });
    expect('git clone', cloned.status === 0, cloned.stderr);
    if (cloned.status !== 0) return;
    const env = { ...process.env };
    delete env.LINTEL_HOME;
    const fromMs = Date.now();
    child = spawn('npm', ['start', '--', '--port', '0'], { cwd: clone, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        output += chunk;
        process.stdout.write(chunk);
      });
    }
    const connectionFile = join(clone, '.lintel/connection.json');
    while (!existsSync(connectionFile) && child.exitCode === null && Date.now() - fromMs < startMsMax) {
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    expect(
      `npm start is up (${((Date.now() - fromMs) / 1000).toFixed(0)} s with its installation)`,
      existsSync(connectionFile),
      output.slice(-2_000),
    );
    if (!existsSync(connectionFile)) return;
    expect(
      'with a broker and a database',
      /✓ broker +nats-server/.test(output) && /✓ database +Postgres/.test(output),
      '',
    );
    const { gatewayUrl, pid } = JSON.parse(readFileSync(connectionFile, 'utf8'));
    const within = { signal: AbortSignal.timeout(requestMsMax) };
    const ready = await fetch(`${gatewayUrl}/ready`, within);
    expect('GET /ready is 200', ready.status === 200, String(ready.status));
    const key = readFileSync(join(clone, '.lintel/api-key'), 'utf8').trim();
    const models = await (
      await fetch(`${gatewayUrl}/v1/models`, { ...within, headers: { authorization: `Bearer ${key}` } })
    ).json();
    const answer = await fetch(`${gatewayUrl}/v1/chat/completions`, {
      ...within,
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: JSON.stringify({
        model: models.data[0].id,
        stream: true,
        max_tokens: 16,
        messages: [{ role: 'user', content: 'Hello' }],
      }),
    });
    const text = await answer.text();
    const requestId = answer.headers.get('x-lintel-request-id') ?? '';
    expect(
      'tokens stream',
      answer.status === 200 && text.includes('"delta"') && text.trimEnd().endsWith('data: [DONE]'),
      `${answer.status} ${text.slice(0, 500)}`,
    );
    const lintel = (...args) => spawnSync('npx', ['lintel', ...args], { cwd: clone, env, encoding: 'utf8' });
    const why = lintel('why', requestId);
    process.stdout.write(why.stdout);
    expect(
      'lintel why names the choice',
      why.status === 0 && why.stdout.includes(requestId),
      `${why.status} ${why.stdout}${why.stderr}`,
    );
    const replay = lintel('replay', '--since', '1h', '--verify');
    process.stdout.write(replay.stdout);
    expect('lintel replay --verify agrees', replay.status === 0, `${replay.status} ${replay.stdout}${replay.stderr}`);
    const verify = lintel('verify');
    process.stdout.write(verify.stdout);
    expect('lintel verify agrees', verify.status === 0, `${verify.status} ${verify.stdout}${verify.stderr}`);
    child.kill('SIGTERM');
    const deadlineMs = Date.now() + stopMsMax;
    // npm may end before what it started.
    while ((child.exitCode === null || processesOn(clone).length > 0) && Date.now() < deadlineMs)
      await new Promise((resolve) => setTimeout(resolve, 100));
    expect('SIGTERM stops it', !alive(pid), `pid ${pid} lives`);
    expect('no process is left', processesOn(clone).length === 0, processesOn(clone).join('\n'));
    expect('no lock is left', !existsSync(join(clone, '.lintel/lock')), 'lock is there');
  } catch (error) {
    expect('a fresh clone', false, error.stack);
  } finally {
    for (const line of processesOn(clone)) {
      try {
        process.kill(Number(line.split(' ')[0]), 'SIGKILL');
      } catch {
        continue; // ended meanwhile
      }
    }
    rmSync(folder, { recursive: true, force: true });
  }
}

// A default signal would end this process without its `exit` handlers.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130));

const parts = {
  test: () => part('npm test', 'npm', ['test']),
  engines: () => part('npm run test:engines', 'npm', ['run', 'test:engines']),
  deploy: () => part('deployment files by their real tools', process.execPath, ['tools/check-deploy.mjs']),
  clone: newcomer,
};
const chosen = process.argv.slice(2);
if (chosen.some((name) => parts[name] === undefined)) {
  process.stdout.write(usage);
  process.exit(chosen.includes('--help') ? 0 : 2);
}
for (const name of chosen.length === 0 ? Object.keys(parts) : chosen) {
  const fromMs = Date.now();
  await parts[name]();
  process.stdout.write(`  ${name} took ${((Date.now() - fromMs) / 1000).toFixed(0)} s\n`);
}
process.stdout.write(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`);
process.exit(total.failed === 0 ? 0 : 1);
