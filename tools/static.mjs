// Types and style without tests: what `npm run typecheck`, `npm run lint` and `npm run format` run.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { prepare, root } from './prepare.mjs';

const parts = {
  typecheck: { what: 'types of everything, by tsc', commands: [['tsc', '-p', '.']] },
  lint: {
    what: 'style of everything, by oxlint and oxfmt; changes nothing',
    commands: [['oxlint'], ['oxfmt', '--check']],
  },
  format: { what: 'puts everything into shape, by oxfmt', commands: [['oxfmt']] },
};

const [name, ...rest] = process.argv.slice(2);
const part = parts[name];
if (part === undefined || rest.includes('--help') || rest.includes('-h')) {
  const lines = Object.entries(parts).map(([each, { what }]) => `  npm run ${each.padEnd(10)} ${what}`);
  process.stdout.write(
    `${lines.join('\n')}\n\nMakes a bare checkout ready first. The exit code is 1 where something is found.\n`,
  );
  process.exit(part === undefined ? 2 : 0);
}
await prepare();
for (const [program, ...args] of part.commands) {
  const { status } = spawnSync(join(root, 'node_modules/.bin', program), [...args, ...rest], {
    cwd: root,
    stdio: 'inherit',
  });
  if (status !== 0) process.exit(1);
}
