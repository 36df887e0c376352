import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';

const root = join(import.meta.dirname, '../..');

function buf(...args: string[]): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(join(root, 'node_modules/.bin/buf'), args, {
    cwd: root,
    encoding: 'utf8',
  });
  return { status, output: stdout + stderr };
}

test('proto/ follows the style that buf checks', () => {
  expect(buf('lint')).toEqual({ status: 0, output: '' });
});

test('L18 proto/ can still read what the last landed version wrote', () => {
  expect(buf('breaking', '--against', 'proto/landed.binpb')).toEqual({ status: 0, output: '' });
});
