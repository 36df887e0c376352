import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { filters, pickers, scorers } from './index.ts';

const groups = [
  ['filters', filters],
  ['scorers', scorers],
  ['pickers', pickers],
] as const;

describe.each(groups)('%s', (group, listed) => {
  const folder = join(import.meta.dirname, group);

  test('the list is the folders', () => {
    expect(listed.map(({ type }) => type).sort()).toEqual(readdirSync(folder).sort());
  });

  test.each(listed.map((plugin) => [plugin.type, plugin] as const))(
    '%s has its test, and its README names what it reads and its parameters',
    (type, plugin) => {
      expect(existsSync(join(folder, type, `${type}.unit.spec.ts`))).toBe(true);
      const readme = readFileSync(join(folder, type, 'README.md'), 'utf8');
      for (const name of [...plugin.reads, ...Object.keys(plugin.params({}))]) expect(readme).toContain(`\`${name}\``);
      expect(readme).toContain('**Missing signals**');
    },
  );
});
