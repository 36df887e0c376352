import { readFileSync } from 'node:fs';

const swc = JSON.parse(readFileSync(new URL('./.swcrc', import.meta.url), 'utf8'));
// Jest resolves './x.ts' itself, so that the rewrite to '.js' of the build must not happen here.
swc.jsc.rewriteRelativeImportExtensions = false;
swc.sourceMaps = 'inline';

/** Each level of test has its place in the file name: unit, int, sim, e2e, engines. */
export default {
  testEnvironment: 'node',
  testEnvironmentOptions: { customExportConditions: ['lintel-source', 'node', 'node-addons'] },
  extensionsToTreatAsEsm: ['.ts'],
  transform: { '\\.ts$': ['@swc/jest', { ...swc, swcrc: false }] },
  testMatch: ['**/*.(unit|int|sim|e2e).spec.ts'],
  roots: ['<rootDir>/apps', '<rootDir>/libs', '<rootDir>/test'],
  modulePathIgnorePatterns: ['<rootDir>/dist', '<rootDir>/.lintel'],
  testTimeout: 60_000,
};
