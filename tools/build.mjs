// Generates code from proto/ and compiles apps/ and libs/ to dist/. `--gen-only` stops after the generation.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const bin = (name) => `${root}/node_modules/.bin/${name}`;

/** buf finds its plugin there, also where npm did not start this. */
const env = { ...process.env, PATH: `${root}/node_modules/.bin:${process.env.PATH}` };

function run(label, command, args) {
  const startMs = Date.now();
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: root, encoding: 'utf8', env });
  if (status !== 0) {
    process.stderr.write(`${label} failed: ${error?.message ?? ''}\n${stdout ?? ''}${stderr ?? ''}`);
    process.exit(1);
  }
  process.stdout.write(`${label.padEnd(28)} ${((Date.now() - startMs) / 1000).toFixed(1)} s\n`);
}

run('generate from proto/', bin('buf'), ['generate']);
if (!process.argv.includes('--gen-only')) {
  // Over what is there, so that a Lintel that runs keeps finding its files; then what has no source any more goes.
  run('compile apps/ and libs/', bin('swc'), ['apps', 'libs', '-d', 'dist', '--ignore', '**/*.spec.ts', '-q']);
  for (const path of readdirSync(`${root}/dist`, { recursive: true })) {
    const file = String(path);
    if (!/\.js(\.map)?$/.test(file) || existsSync(`${root}/${file.replace(/\.js(\.map)?$/, '.ts')}`)) continue;
    rmSync(`${root}/dist/${file}`, { force: true });
  }
}
