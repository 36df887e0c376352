import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { lintel } from './fake.fixture.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lintel-up-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** A process that becomes the program; `signal` is sent to it alone once the program says that it is ready. */
async function becoming(
  text: string,
  args: readonly string[],
  signal?: NodeJS.Signals,
): Promise<{ code: number | null; out: string }> {
  const program = join(folder, 'program.mjs');
  await writeFile(program, text);
  const up = new URL('./commands/up.ts', import.meta.url).href;
  const code = `const { become } = await import(${JSON.stringify(up)}); process.exit(await become(${JSON.stringify(program)}, ${JSON.stringify(args)}));`;
  const flags = [
    '--experimental-transform-types',
    '--conditions=lintel-source',
    '--disable-warning=ExperimentalWarning',
  ];
  const child = spawn(process.execPath, [...flags, '--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let out = '';
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
    if (signal !== undefined && out.endsWith('ready\n')) child.kill(signal);
  });
  return await new Promise((resolve) => child.once('close', (exitCode) => resolve({ code: exitCode, out })));
}

test('its arguments, output and exit code are those of the program', async () => {
  const text = "process.stdout.write(process.argv.slice(2).join(' ')); process.exit(7);";
  expect(await becoming(text, ['--sim', '2'])).toEqual({ code: 7, out: '--sim 2' });
});

test('SIGTERM reaches the program, which ends as it likes', async () => {
  const text =
    "process.on('SIGTERM', () => { console.log('drained'); process.exit(0); }); setInterval(() => {}, 1000); console.log('ready');";
  expect(await becoming(text, [], 'SIGTERM')).toEqual({ code: 0, out: 'ready\ndrained\n' });
});

test('a program that a signal killed is said by 128 and its number', async () => {
  expect(
    await becoming("console.log('x'); process.kill(process.pid, 'SIGKILL'); setInterval(() => {}, 1000);", []),
  ).toEqual({
    code: 137,
    out: 'x\n',
  });
});

test('without a build it says how to make one', async () => {
  expect(await lintel(['up', '--sim', '1'])).toMatchObject({ code: 2, err: expect.stringContaining('npm run build') });
});
