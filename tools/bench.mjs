// `npm run bench`: the goals that are numbers, each measured against something in the same run. See docs/benchmarks.md.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { node, prepare, root } from './prepare.mjs';

const folder = join(root, 'tools/bench');
const names = readdirSync(folder)
  .filter((name) => name.endsWith('.mjs') && !name.startsWith('_'))
  .map((name) => name.replace('.mjs', ''));

/** The first comment line of a bench says what it measures. */
const purpose = (name) => /^\/\/ (.*)/.exec(readFileSync(join(folder, `${name}.mjs`), 'utf8'))?.[1] ?? '';

const [chosen, ...rest] = process.argv.slice(2);
if (chosen === '--help' || chosen === '-h') {
  process.stdout.write(
    `npm run bench [-- <name> [its options]]\n\nWithout a name all run, one after another. Each has its own --help.\n\n${names
      .map((name) => `  ${name.padEnd(12)} ${purpose(name)}`)
      .join('\n')}\n`,
  );
  process.exit(0);
}
if (chosen !== undefined && !existsSync(join(folder, `${chosen}.mjs`))) {
  process.stderr.write(`no bench "${chosen}"; there are: ${names.join(', ')}\n`);
  process.exit(2);
}
/** What a bench is given where all of them run. */
const amongAll = { soak: ['--minutes', '2'] };
await prepare();
process.stdout.write(
  `${cpus().length} × ${cpus()[0]?.model}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${process.platform} ${process.arch}\n`,
);
let failed = 0;
for (const name of chosen === undefined ? names : [chosen]) {
  process.stdout.write(`\n== ${name}: ${purpose(name)}\n`);
  const { status } = spawnSync(
    node,
    [join(folder, `${name}.mjs`), ...(chosen === undefined ? (amongAll[name] ?? []) : rest)],
    { cwd: root, stdio: 'inherit' },
  );
  if (status !== 0) failed++;
}
process.exit(failed === 0 ? 0 : 1);
