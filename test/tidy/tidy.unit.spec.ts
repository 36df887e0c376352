import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { fileLinesMax, libRules, packageRules, textRules } from './rules.ts';

const root = join(import.meta.dirname, '../..');
const isTest = (path: string): boolean => path.endsWith('.spec.ts') || /^(test|libs\/testkit)\//.test(path);

interface Source {
  readonly path: string;
  readonly text: string;
  /** Without comments, so that prose may name what code must not use. */
  readonly code: string;
  readonly imports: readonly string[];
}

const withoutComments = (text: string): string =>
  text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|[^:'"`])\/\/.*$/gm, '$1');

const sources: Source[] = globSync('{apps,libs,test}/**/*.ts', { cwd: root })
  .filter((path) => !path.includes('/src/gen/'))
  .sort()
  .map((path) => {
    const text = readFileSync(join(root, path), 'utf8');
    const code = withoutComments(text);
    const imports = [...code.matchAll(/(?:\bfrom\s+|\bimport\s+|\bimport\()['"]([^'"\n]+)['"]/g)].map(
      (match) => match[1] as string,
    );
    return { path, text, code, imports };
  });

const production = sources.filter(({ path }) => !isTest(path));

/** `libs/domain/route/src/x.ts` → `domain/route`; `apps/gateway/src/x.ts` → undefined. */
const libOf = (path: string): string | undefined => /^libs\/(domain\/[^/]+|[^/]+)\//.exec(path)?.[1];
const appOf = (path: string): string | undefined => /^apps\/([^/]+)\//.exec(path)?.[1];

const show = (violations: readonly string[]): string => violations.join('\n');

describe('borders', () => {
  test('a lib imports only the rooms that its group may', () => {
    const violations = production.flatMap(({ path, imports }) => {
      const lib = libOf(path);
      if (lib === undefined) return [];
      const rule = libRules[lib];
      if (rule === undefined) return [`${path}: lib "${lib}" has no rule in test/tidy/rules.ts`];
      return imports.flatMap((name) => {
        if (name.startsWith('#apps/')) return [`${path} imports ${name}: libs stand below apps`];
        const other = /^#libs\/(.+)$/.exec(name)?.[1];
        if (other === undefined || other === lib || rule.mayImport.includes(other)) return [];
        return [`${path} imports ${name}: ${rule.because}`];
      });
    });
    expect(show(violations)).toBe('');
  });

  test('an app never imports another; standalone alone composes them', () => {
    const violations = production.flatMap(({ path, imports }) => {
      const app = appOf(path);
      if (app === undefined || app === 'standalone') return [];
      return imports
        .filter((name) => name.startsWith('#apps/') && name !== `#apps/${app}`)
        .map((name) => `${path} imports ${name}: apps meet only on the bus`);
    });
    expect(show(violations)).toBe('');
  });

  test('rooms are entered through their index', () => {
    const violations = sources.flatMap(({ path, imports }) =>
      imports
        .filter((name) => /^#libs\/(?!domain\/[^/]+$)[^/]+\/./.test(name) || /^#apps\/[^/]+\/./.test(name))
        .map((name) => `${path} imports ${name}: only what src/index.ts exports is public`),
    );
    expect(show(violations)).toBe('');
  });

  test('relative imports stay in their room', () => {
    const violations = production.flatMap(({ path, imports }) => {
      const home = libOf(path) ?? appOf(path);
      return imports.flatMap((name) => {
        if (!name.startsWith('.')) return [];
        const target = join(path, '..', name);
        return (libOf(target) ?? appOf(target)) === home ? [] : [`${path} imports ${name}: use #libs/… across rooms`];
      });
    });
    expect(show(violations)).toBe('');
  });

  test('testkit is imported by tests only', () => {
    const violations = production
      .filter(({ imports }) => imports.some((name) => name.startsWith('#libs/testkit')))
      .map(({ path }) => `${path} imports testkit: it is for tests`);
    expect(show(violations)).toBe('');
  });

  test.each(packageRules)('$packages stays where it belongs: $because', ({ packages, where, because }) => {
    const violations = production.flatMap(({ path, imports }) =>
      imports
        .filter((name) => packages.test(name) && !where.some((prefix) => path.startsWith(prefix)))
        .map((name) => `${path} imports ${name}: ${because}`),
    );
    expect(show(violations)).toBe('');
  });
});

describe('text', () => {
  test.each(textRules)('$text: $because', ({ text, where, because }) => {
    const violations = production.flatMap(({ path, code }) =>
      where.includes(path)
        ? []
        : code
            .split('\n')
            .flatMap((line, index) =>
              text.test(line) ? [`${path}: ${line.trim()} (near code line ${index + 1}): ${because}`] : [],
            ),
    );
    expect(show(violations)).toBe('');
  });

  test('a test carries its level in its name', () => {
    const violations = sources
      .filter(({ path }) => path.endsWith('.spec.ts') && !/\.(unit|int|sim|e2e|engines)\.spec\.ts$/.test(path))
      .map(({ path }) => `${path}: name it .unit, .int, .sim, .e2e or .engines .spec.ts`);
    expect(show(violations)).toBe('');
  });

  test('a file holds one idea', () => {
    const violations = production
      .map(({ path, text }) => ({ path, lines: text.split('\n').length }))
      .filter(({ lines }) => lines > fileLinesMax)
      .map(({ path, lines }) => `${path}: ${lines} lines, the bound is ${fileLinesMax}`);
    expect(show(violations)).toBe('');
  });

  test('nothing names a workplace: only public things stand in the project', () => {
    const violations = sources
      .filter(({ text }) => /\/work\/(?:main|shared)|\bfarm-(?:bench|studio)\b/.test(text))
      .map(({ path }) => path);
    expect(violations.filter((path) => !path.startsWith('test/tidy/'))).toEqual([]);
  });
});

describe('rooms', () => {
  test('every lib and app says what it is', () => {
    const rooms = new Set(
      sources
        .map(({ path }) => /^(libs\/domain\/[^/]+|libs\/[^/]+|apps\/[^/]+)\//.exec(path)?.[1])
        .filter((room) => room !== undefined),
    );
    expect([...rooms].filter((room) => !existsSync(join(root, room, 'README.md')))).toEqual([]);
  });

  const table = readFileSync(join(root, 'docs/invariants.md'), 'utf8');
  const laws = [...table.matchAll(/^\|\s*(L\d+)\s*\|(.*)$/gm)].map(([, law, rest]) => ({
    law: law as string,
    files: [...(rest as string).matchAll(/`([^`]+\.spec\.ts)`/g)].map((match) => match[1] as string),
  }));

  test('each law of docs/invariants.md names a test that is there and names the law', () => {
    expect(laws.length).toBeGreaterThan(0);
    const violations = laws.flatMap(({ law, files }) => {
      if (files.length === 0) return [`${law} names no test`];
      return files.flatMap((file) => {
        if (!existsSync(join(root, file))) return [`${law}: ${file} is not there`];
        return new RegExp(`\\b${law}\\b`).test(readFileSync(join(root, file), 'utf8'))
          ? []
          : [`${law}: ${file} does not name it`];
      });
    });
    expect(show(violations)).toBe('');
  });

  test('each law that a test names is in docs/invariants.md, once', () => {
    const numbers = laws.map(({ law }) => law);
    expect(numbers.toSorted()).toEqual([...new Set(numbers)].sort());
    const violations = sources.flatMap(({ path, text }) =>
      [...text.matchAll(/\b(?:test|it|describe)\b[^'"`\n]*['"`]((?:L\d+ )+)/g)].flatMap((match) =>
        (match[1] as string)
          .trim()
          .split(' ')
          .filter((law) => !numbers.includes(law))
          .map((law) => `${path} names ${law}`),
      ),
    );
    expect(show(violations)).toBe('');
  });
});
