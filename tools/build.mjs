// Generates code from proto/ and compiles apps/ and libs/ to dist/. `--gen-only` stops after the generation.
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const bin = (name) => `${root}/node_modules/.bin/${name}`;

function run(label, command, args) {
  const startMs = Date.now();
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  if (status !== 0) {
    process.stderr.write(`${label} failed: ${error?.message ?? ''}\n${stdout ?? ''}${stderr ?? ''}`);
    process.exit(1);
  }
  process.stdout.write(`${label.padEnd(28)} ${((Date.now() - startMs) / 1000).toFixed(1)} s\n`);
}

run('generate from proto/', bin('buf'), ['generate']);
if (!process.argv.includes('--gen-only')) {
  rmSync(`${root}/dist`, { recursive: true, force: true });
  run('compile apps/ and libs/', bin('swc'), ['apps', 'libs', '-d', 'dist', '--ignore', '**/*.spec.ts', '-q']);
}
