// `npm start` cold (installed, new home) and warm, resident memory of all its processes, size of node_modules.
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from '../prepare.mjs';

const startMsMax = 120_000;
const requests = 500;

if (process.argv.includes('--help')) {
  process.stdout.write(
    'npm run bench -- start\n\nStarts twice on one new home, waits for GET /ready, serves some requests, sums the memory of the process tree.\n',
  );
  process.exit(0);
}

/** Resident bytes not shared with others (PSS) of a process and all below it. Linux only. */
function treeMemory(pid) {
  const parents = new Map();
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
    } catch {
      continue; // ended while we looked
    }
  }
  const rows = [];
  const visit = (at) => {
    try {
      const pss = /^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${at}/smaps_rollup`, 'utf8'));
      const rss = /^Rss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${at}/smaps_rollup`, 'utf8'));
      const command = readFileSync(`/proc/${at}/cmdline`, 'utf8').split('\0').slice(0, 2).join(' ');
      rows.push({ pid: at, pssMb: Number(pss?.[1] ?? 0) / 1024, rssMb: Number(rss?.[1] ?? 0) / 1024, command });
    } catch {
      return; // ended while we looked
    }
    for (const [child, parent] of parents) if (parent === at) visit(child);
  };
  visit(pid);
  return rows;
}

async function start(home) {
  const fromMs = Date.now();
  const child = spawn('node', ['tools/start.mjs', '--home', home, '--port', '0', '--api-port', '0'], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  for (;;) {
    try {
      const { gatewayUrl } = JSON.parse(readFileSync(join(home, 'connection.json'), 'utf8'));
      if ((await fetch(`${gatewayUrl}/ready`)).status === 200) break;
    } catch {
      // not yet
    }
    if (Date.now() - fromMs > startMsMax || child.exitCode !== null) {
      child.kill('SIGTERM');
      throw new Error(`did not start:\n${output}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return { child, readyMs: Date.now() - fromMs };
}

async function stop(child) {
  const fromMs = Date.now();
  child.kill('SIGTERM');
  await new Promise((resolve) => child.once('exit', resolve));
  return Date.now() - fromMs;
}

/** Some work, so that memory is measured of a Lintel that served and not of one that has just started. */
async function serve(home) {
  const { gatewayUrl } = JSON.parse(readFileSync(join(home, 'connection.json'), 'utf8'));
  const headers = {
    authorization: `Bearer ${readFileSync(join(home, 'api-key'), 'utf8').trim()}`,
    'content-type': 'application/json',
  };
  const body = JSON.stringify({ model: 'sim-8b', max_tokens: 8, messages: [{ role: 'user', content: 'Hello' }] });
  let left = requests;
  const client = async () => {
    while (left-- > 0) {
      const answer = await fetch(`${gatewayUrl}/v1/chat/completions`, { method: 'POST', headers, body });
      await answer.text();
      if (answer.status !== 200) throw new Error(`a request was answered ${answer.status}`);
    }
  };
  await Promise.all(Array.from({ length: 16 }, client));
}

let failed = false;
function report(name, value, unit, goal) {
  const reached = goal === undefined || value < goal;
  failed ||= !reached;
  const text = goal === undefined ? '' : `(goal < ${goal} ${unit}: ${reached ? 'reached' : 'MISSED'})`;
  process.stdout.write(
    `${name.padEnd(34)} ${value.toFixed(unit === 's' ? 1 : 0).padStart(6)} ${unit.padEnd(3)} ${text}\n`,
  );
}

const home = mkdtempSync(join(tmpdir(), 'lintel-bench-'));
chmodSync(home, 0o711);
let child;
try {
  const cold = await start(home);
  child = cold.child;
  await serve(home);
  const rows = treeMemory(child.pid);
  await stop(child);
  const warm = await start(home);
  child = warm.child;
  const stopMs = await stop(child);
  const { stdout } = spawnSync('du', ['-sm', join(root, 'node_modules')], { encoding: 'utf8' });
  report('start on a new home', cold.readyMs / 1000, 's', 60);
  report('start again', warm.readyMs / 1000, 's', 10);
  report('stop', stopMs / 1000, 's');
  const standalone = rows.find(({ command }) => command.includes('standalone'));
  report(`RSS of standalone, ${requests} requests on`, standalone?.rssMb ?? Number.NaN, 'MB', 600);
  report(
    'PSS of all its processes',
    rows.reduce((total, { pssMb }) => total + pssMb, 0),
    'MB',
  );
  for (const { command, rssMb, pssMb } of rows)
    process.stdout.write(`  ${command.slice(-60).padEnd(60)} rss ${rssMb.toFixed(0)} pss ${pssMb.toFixed(0)}\n`);
  report('node_modules', Number(stdout.split('\t')[0]), 'MB', 700);
} finally {
  if (child !== undefined && child.exitCode === null && child.signalCode === null) await stop(child);
  rmSync(home, { recursive: true, force: true });
}
process.exit(failed ? 1 : 0);
