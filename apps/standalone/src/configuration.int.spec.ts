import { mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from '@jest/globals';
import { systemTimers } from '#libs/kernel';
import { eventually } from '#libs/testkit';
import { Configuration, readConfiguration } from './configuration.ts';

const folders: string[] = [];
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
});

test('tokenizers of the file go to the gateway with each edit', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'lintel-configuration-'));
  folders.push(folder);
  const file = join(folder, 'lintel.yaml');
  const textOf = (path: string): string => `tokenizers:\n  tiny: { path: ${path} }\n`;
  await writeFile(file, textOf('/models/one'));
  const read = await readConfiguration(file);
  expect(read?.config.tokenizers).toMatchObject({ tiny: { path: '/models/one' } });
  const seen: unknown[] = [];
  const target = {
    apply: async () => [],
    tokenize: async (tokenizers: unknown) => void seen.push(tokenizers),
  };
  const watch = new Configuration(read, [], undefined, target, () => {}).watch(systemTimers);
  try {
    await writeFile(file, textOf('/models/two'));
    await utimes(file, new Date(1_000), new Date(2_000_000));
    await eventually(() => expect(seen).toMatchObject([{ tiny: { path: '/models/two' } }]));
  } finally {
    watch.stop();
  }
});
