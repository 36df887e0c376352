import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { notaryKeys } from './notary-key.ts';

let home: string;
beforeEach(async () => void (home = await mkdtemp(join(tmpdir(), 'lintel-keys-'))));
afterEach(() => rm(home, { recursive: true, force: true }));

test('L23 is made once, also by two first starts at once, and only its owner can read it', async () => {
  const made = await Promise.all([notaryKeys(home, 'a'), notaryKeys(home, 'b'), notaryKeys(home, 'c')]);
  expect(new Set(made.map(({ publicKey }) => publicKey)).size).toBe(1);
  expect((await stat(join(home, 'keys', 'notary.pem'))).mode & 0o777).toBe(0o600);
  expect((await readdir(join(home, 'keys'))).filter((name) => /\.[abc]$/.test(name))).toEqual([]);
  expect((await notaryKeys(home, 'd')).publicKey).toBe(made[0]?.publicKey);
});

test('a lost key is followed by a new one, and the old seals go on to count', async () => {
  const { publicKey } = await notaryKeys(home, 'a');
  await rm(join(home, 'keys', 'notary.pem'));
  const next = await notaryKeys(home, 'b');
  expect(next.publicKey).not.toBe(publicKey);
  expect([...next.trusted].sort()).toEqual([publicKey, next.publicKey].sort());
});

test('a file that is no key is said, and left as it is', async () => {
  await notaryKeys(home, 'a');
  const file = join(home, 'keys', 'notary.pem');
  await writeFile(file, 'rubbish');
  await expect(notaryKeys(home, 'b')).rejects.toMatchObject({ code: 'NOTARY_KEY_INVALID' });
  expect(await readFile(file, 'utf8')).toBe('rubbish');
});
