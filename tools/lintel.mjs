#!/usr/bin/env node
// `npx lintel …` in a checkout. `up` prepares as `npm start` does; everything else only where there is no build yet, so that it stays quick.
import { existsSync } from 'node:fs';
import { become, node, prepare, root } from './prepare.mjs';

const args = process.argv.slice(2);
const main = `${root}/dist/apps/cli/src/main.js`;
if (args[0] === 'up') {
  const help = args.includes('--help') || args.includes('-h');
  if (!help) process.stdout.write('\nLintel\n\n');
  await prepare();
  become([`${root}/dist/apps/standalone/src/main.js`, ...args.slice(1)]);
} else {
  if (!existsSync(node) || !existsSync(main)) {
    // Only the answer belongs on stdout: a program may be reading it.
    const { write } = process.stdout;
    process.stdout.write = process.stderr.write.bind(process.stderr);
    await prepare();
    process.stdout.write = write;
  }
  become([main, ...args]);
}
