import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { hashApiKey } from '#libs/domain/tenancy';
import { Home } from './home.ts';

let folder: string;
beforeEach(async () => (folder = await mkdtemp(join(tmpdir(), 'lintel-home-'))));
afterEach(async () => await rm(folder, { recursive: true, force: true }));

const connection = {
  apiUrl: 'http://127.0.0.1:1',
  gatewayUrl: 'http://127.0.0.1:2',
  adminKeyFile: 'x',
  durability: 'disk',
  pid: process.pid,
} as const;

describe('a home', () => {
  test('belongs to one Lintel at a time, and is free once that one has closed it', async () => {
    const other = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)', 'standalone'], { stdio: 'ignore' });
    try {
      await writeFile(join(folder, 'lock'), `${other.pid}\n`);
      await expect(Home.open(folder)).rejects.toMatchObject({
        code: 'HOME_IN_USE',
        message: expect.stringContaining(String(other.pid)),
        advice: expect.stringContaining('--home'),
      });
    } finally {
      const gone = new Promise((resolve) => other.once('exit', resolve));
      other.kill('SIGKILL');
      await gone;
    }
    const home = await Home.open(folder);
    expect(await readFile(join(folder, 'lock'), 'utf8')).toBe(`${process.pid}\n`);
    await home.announce(connection);
    home.close();
    await expect(stat(join(folder, 'lock'))).rejects.toThrow('ENOENT');
    await expect(stat(join(folder, 'connection.json'))).rejects.toThrow('ENOENT');
  });

  test.each([
    ['a killed process', '999999999\n'],
    ['another program that now has the pid', '1\n'],
    ['a torn write', ''],
  ])('a lock of %s is taken over', async (_of, content) => {
    await writeFile(join(folder, 'lock'), content);
    const home = await Home.open(folder);
    expect(await readFile(join(folder, 'lock'), 'utf8')).toBe(`${process.pid}\n`);
    home.close();
  });

  test('a lock that another start took meanwhile is noticed and left alone', async () => {
    const home = await Home.open(folder);
    await writeFile(join(folder, 'lock'), '4242\n');
    await expect(home.announce(connection)).rejects.toMatchObject({ code: 'HOME_IN_USE' });
    home.close();
    expect(await readFile(join(folder, 'lock'), 'utf8')).toBe('4242\n');
  });

  test('an unwritable folder is named, with the flag', async () => {
    await writeFile(join(folder, 'a-file'), '');
    await expect(Home.open(join(folder, 'a-file', 'home'))).rejects.toMatchObject({
      code: 'HOME_UNWRITABLE',
      message: expect.stringContaining(join(folder, 'a-file', 'home')),
      advice: expect.stringContaining('--home'),
    });
  });

  test('a secret is made once and read by its owner alone', async () => {
    const home = await Home.open(folder);
    const secret = await home.secret('api-key', 'lk-');
    expect(secret).toMatch(/^lk-[\w-]{32}$/);
    expect(await home.secret('api-key', 'lk-')).toBe(secret);
    expect((await stat(join(folder, 'api-key'))).mode & 0o777).toBe(0o600);
    home.close();
  });
});

test('L23 keys are stored as sha256', () => {
  expect(hashApiKey('lk-dev')).toBe('fc34960f03887f17c154ec814fba84cea41c50e67401e77c52d4bf260b1ce587');
});
