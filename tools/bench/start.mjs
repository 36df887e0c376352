// `npm start` cold (installed, new home) and warm, resident memory of all its processes, size of node_modules.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from '../prepare.mjs';

const startMsMax = 120_000;

if (process.argv.includes('--help')) {
  process.stdout.write(
    'npm run bench -- start\n\nStarts twice on one new home, waits for GET /ready, sums the memory of the process tree.\n',
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
  const child = spawn('node', ['tools/start.mjs', '--home', home, '--port', '0'], {
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
    if (Date.now() - fromMs > startMsMax || child.exitCode !== null) throw new Error(`did not start:\n${output}`);
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

const home = mkdtempSync(join(tmpdir(), 'lintel-bench-'));
try {
  const cold = await start(home);
  await new Promise((resolve) => setTimeout(resolve, 5_000));
  const rows = treeMemory(cold.child.pid);
  await stop(cold.child);
  const warm = await start(home);
  const stopMs = await stop(warm.child);
  const modules = Number(
    spawnSync('du', ['-sm', join(root, 'node_modules')], { encoding: 'utf8' }).stdout.split('\t')[0],
  );
  const sum = (key) => rows.reduce((total, row) => total + row[key], 0);
  const standalone = rows.find(({ command }) => command.includes('standalone'));
  process.stdout.write(`start on a new home          ${(cold.readyMs / 1000).toFixed(1)} s   (goal < 60 s)\n`);
  process.stdout.write(`start again                  ${(warm.readyMs / 1000).toFixed(1)} s   (goal < 10 s)\n`);
  process.stdout.write(`stop                         ${(stopMs / 1000).toFixed(1)} s\n`);
  process.stdout.write(`RSS of standalone            ${standalone?.rssMb.toFixed(0)} MB   (goal < 600 MB)\n`);
  process.stdout.write(`PSS of all its processes     ${sum('pssMb').toFixed(0)} MB\n`);
  for (const { command, rssMb, pssMb } of rows)
    process.stdout.write(`  ${command.slice(-60).padEnd(60)} rss ${rssMb.toFixed(0)} pss ${pssMb.toFixed(0)}\n`);
  process.stdout.write(`node_modules                 ${modules} MB   (goal < 700 MB)\n`);
} finally {
  rmSync(home, { recursive: true, force: true });
}
