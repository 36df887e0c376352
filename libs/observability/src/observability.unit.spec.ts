import { describe, expect, test } from '@jest/globals';
import { BoundedLabel, createLogger, HealthBoard, latencyBucketsSeconds } from './index.ts';

describe('HealthBoard', () => {
  const board = (required: 'up' | 'down' | 'degraded', optional: 'up' | 'down'): HealthBoard =>
    new HealthBoard()
      .add({ name: 'log', required: true, check: () => ({ state: required }) })
      .add({ name: 'database', required: false, check: () => ({ state: optional }) });

  test.each([
    ['up', 'up', true, 'up'],
    ['up', 'down', true, 'degraded'],
    ['degraded', 'up', true, 'degraded'],
    ['down', 'up', false, 'down'],
    ['down', 'down', false, 'down'],
  ] as const)('required %s, optional %s: ready %s, %s', (required, optional, ready, state) => {
    expect(board(required, optional).report()).toMatchObject({ ready, state });
  });
});

test('latency buckets rise strictly, so that a quantile is known within 19 %', () => {
  for (let index = 1; index < latencyBucketsSeconds.length; index++) {
    const ratio = (latencyBucketsSeconds[index] as number) / (latencyBucketsSeconds[index - 1] as number);
    expect(ratio).toBeGreaterThan(1);
    expect(ratio).toBeLessThan(1.2);
  }
});

test('a bounded label folds what comes after its bound', () => {
  const label = new BoundedLabel(2);
  expect(['a', 'b', 'c', 'a'].map((value) => label.of(value))).toEqual(['a', 'b', 'other', 'a']);
});

test('L23 secrets are not printed', () => {
  const lines: string[] = [];
  const logger = createLogger({ name: 't', stream: { write: (line) => void lines.push(line) } });
  logger.info({ authorization: 'Bearer x', request: { apiKey: 'lk-secret' } }, 'seen');
  expect(lines.join('')).not.toMatch(/Bearer x|lk-secret/);
  expect(lines.join('')).toContain('[redacted]');
});
