import { spawnSync } from 'node:child_process';
import { describe, expect, test } from '@jest/globals';
import { completionScript, placesOf } from './completion.ts';
import { lintel } from './fake.fixture.ts';
import { makeProgram } from './program.ts';

const program = makeProgram((command) => command);
const has = (shell: string): boolean => spawnSync(shell, ['-c', 'exit 0']).status === 0;

/** What bash would offer behind these words; the last one is being written. */
function offered(...words: string[]): string[] {
  const typed = words.map((word) => `'${word}'`).join(' ');
  const script = `lintel() { echo "name-of-$2"; }
${completionScript('bash', program)}
COMP_WORDS=(${typed}); COMP_CWORD=${words.length - 1}; _lintel; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr } = spawnSync('bash', ['--norc', '-c', script], { encoding: 'utf8' });
  expect(stderr).toBe('');
  return stdout.trim().split('\n');
}

describe('completion', () => {
  test('knows the whole grammar, and nothing hidden', () => {
    const paths = placesOf(program).map(({ path }) => path);
    expect(paths).toEqual(expect.arrayContaining(['', 'why', 'replica drain', 'archive import', 'projection rebuild']));
    expect(paths).not.toContain('complete-names');
    expect(JSON.stringify(placesOf(program))).not.toContain('--admin-key');
  });

  test.each(['bash', 'zsh', 'fish'])('a script for %s that the shell can read, where it is here', async (shell) => {
    const { code, out } = await lintel(['completion', shell]);
    expect(code).toBe(0);
    expect(out).toContain('complete-names replicas');
    if (has(shell))
      expect(spawnSync(shell, ['-n'], { input: out, encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' });
  });

  (has('bash') ? test : test.skip)(
    'bash offers commands, flags, fixed words, and names asked of a running Lintel',
    () => {
      expect(offered('lintel', 're')).toEqual(['replay', 'replica']);
      expect(offered('lintel', 'replica', '')).toEqual(['drain', 'resume', 'remove']);
      expect(offered('lintel', '--home', 'x', 'replica', 'drain', '')).toEqual(['name-of-replicas']);
      expect(offered('lintel', 'replica', 'drain', 'r1', '--re')).toEqual(['--reason']);
      expect(offered('lintel', 'get', 'pr')).toEqual(['projections', 'prices']);
      expect(offered('lintel', 'keys', 'r')).toEqual(['rotate', 'revoke']);
      expect(offered('lintel', 'keys', 'rotate', 'acme', '')).toEqual(['name-of-tenants']);
      expect(offered('lintel', 'keys', 'rotate', '--o')).toEqual(['--overlap']);
      expect(offered('lintel', 'completion', '')).toEqual(['bash', 'zsh', 'fish']);
    },
  );
});
