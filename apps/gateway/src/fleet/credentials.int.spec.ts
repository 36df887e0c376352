import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { readCredential } from './credentials.ts';

describe('the own key of an engine', () => {
  let folder: string;
  beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'lintel-credential-'))));
  afterAll(async () => await rm(folder, { recursive: true, force: true }));

  test('is read from its file anew each time, without the line end', async () => {
    const file = join(folder, 'key');
    await writeFile(file, 'first\n');
    expect(await readCredential(`file:${file}`)).toEqual({ value: 'first', problem: undefined });
    await writeFile(file, 'second');
    expect((await readCredential(`file:${file}`)).value).toBe('second');
  });

  test('is from a variable of the environment', async () => {
    expect((await readCredential('env:PATH')).value).toBeDefined();
    expect(await readCredential('')).toEqual({ value: undefined, problem: undefined });
  });

  test.each([
    ['two\nlines', 'one line'],
    ['', 'one line'],
    ['with\u0007bell', 'one line'],
  ])('what cannot stand in a header is refused and not shown (%#)', async (text, problem) => {
    const file = join(folder, 'odd');
    await writeFile(file, text);
    const { value, problem: said } = await readCredential(`file:${file}`);
    expect(value).toBeUndefined();
    expect(said).toContain(problem);
    if (text !== '') expect(said).not.toContain(text);
  });

  test.each([
    ['file:/no/such/file', 'ENOENT'],
    ['env:LINTEL_TEST_NO_SUCH_VARIABLE', 'not set'],
    ['secret-itself', 'neither'],
  ])('%s says what is wrong', async (ref, problem) => {
    const { value, problem: said } = await readCredential(ref);
    expect([value, said]).toEqual([undefined, expect.stringContaining(problem)]);
    expect(said).not.toContain('secret-itself');
  });
});
