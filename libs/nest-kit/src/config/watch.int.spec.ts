import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { systemTimers } from '#libs/kernel';
import type { ConfigWatch } from './index.ts';
import { contentHash, watchConfig } from './index.ts';

let folder: string;
let watch: ConfigWatch | undefined;
const seen: string[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lintel-watch-'));
  seen.length = 0;
});
afterEach(async () => {
  watch?.stop();
  await rm(folder, { recursive: true, force: true });
});

async function until(count: number): Promise<void> {
  const deadline = Date.now() + 5_000;
  while (seen.length < count && Date.now() < deadline) await systemTimers.sleep(20);
}

test('L22 a valid edit is handed on, an invalid one is refused once, a removed file too', async () => {
  const file = join(folder, 'lintel.yaml');
  await writeFile(file, 'open: false\n');
  watch = watchConfig(file, contentHash('open: false\n'), systemTimers, {
    changed: (config) => seen.push(`changed ${config.open}`),
    refused: (reason) => seen.push(`refused ${reason.slice(file.length)}`),
  });
  await writeFile(`${file}.new`, 'open: true\n');
  await rename(`${file}.new`, file);
  await until(1);
  await writeFile(file, 'opne: true\n');
  await until(2);
  await systemTimers.sleep(1_200);
  await writeFile(file, 'open: false\n');
  await until(3);
  await rm(file);
  await until(4);
  expect(seen.slice(0, 3)).toEqual([
    'changed true',
    'refused :1:1: unknown name "opne" (did you mean "open"?)',
    'changed false',
  ]);
  expect(seen[3]).toMatch(/ENOENT/);
  expect(seen).toHaveLength(4);
});
