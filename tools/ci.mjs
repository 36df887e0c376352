// What .ci/run runs: npm test, npm run test:engines, the deployment files, then the README's first steps in a fresh clone.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const startMsMax = 10 * 60_000;
const total = { passed: 0, failed: 0, skipped: 0 };

/** Runs a part, shows what it prints, and adds up the counts of its last line. */
function part(name, command, args) {
  process.stdout.write(`\n=== ${name}\n`);
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.on('data', (chunk) => {
      output = (output + chunk).slice(-4_000);
      process.stdout.write(chunk);
    });
    child.on('error', (error) => {
      process.stdout.write(`${error.message}\n`);
      total.failed++;
      resolve();
    });
    child.on('exit', (code) => {
      const counts = [...output.matchAll(/^(\d+) passed, (\d+) failed, (\d+) skipped$/gm)].at(-1);
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
    const exited = new Promise((resolve) => child.once('exit', resolve));
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
    const { gatewayUrl, pid } = JSON.parse(readFileSync(connectionFile, 'utf8'));
    const ready = await fetch(`${gatewayUrl}/ready`);
    expect('GET /ready is 200', ready.status === 200, String(ready.status));
    const key = readFileSync(join(clone, '.lintel/api-key'), 'utf8').trim();
    const models = await (
      await fetch(`${gatewayUrl}/v1/models`, { headers: { authorization: `Bearer ${key}` } })
    ).json();
    const answer = await fetch(`${gatewayUrl}/v1/chat/completions`, {
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
    await exited;
    expect('SIGTERM stops it', !alive(pid), `pid ${pid} lives`);
    expect('no lock is left', !existsSync(join(clone, '.lintel/lock')), 'lock is there');
  } catch (error) {
    expect('a fresh clone', false, error.stack);
  } finally {
    if (child !== undefined && child.exitCode === null) child.kill('SIGTERM');
    if (child !== undefined && child.exitCode === null) await new Promise((resolve) => child.once('exit', resolve));
    rmSync(folder, { recursive: true, force: true });
  }
}

await part('npm test', 'npm', ['test']);
await part('npm run test:engines', 'npm', ['run', 'test:engines']);
await part('deployment files by their real tools', process.execPath, ['tools/check-deploy.mjs']);
await newcomer();
process.stdout.write(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`);
process.exit(total.failed === 0 ? 0 : 1);
