import { expect, test } from '@jest/globals';
import { mergedMetrics } from './merged-metrics.ts';

test('samples of all workers under one family each, told apart by a label; one that did not answer is down', () => {
  const text = (value: number): string =>
    [
      '# HELP a_total Some {odd} help.',
      '# TYPE a_total counter',
      `a_total ${value}`,
      '',
      '# HELP b Seconds.',
      '# TYPE b histogram',
      `b_bucket{le="1",model="x y{}"} ${value}`,
      `b_sum{} ${value}`,
    ].join('\n');
  const merged = mergedMetrics([
    { worker: 'w1', text: text(1) },
    { worker: 'w"2', text: `${text(2)}\n# HELP c Own.\n# TYPE c gauge\nc 3\n` },
    { worker: 'w3', text: undefined },
  ]);
  expect(merged.trimEnd().split('\n')).toEqual([
    '# HELP a_total Some {odd} help.',
    '# TYPE a_total counter',
    'a_total{worker="w1"} 1',
    'a_total{worker="w\\"2"} 2',
    '# HELP b Seconds.',
    '# TYPE b histogram',
    'b_bucket{worker="w1",le="1",model="x y{}"} 1',
    'b_sum{worker="w1"} 1',
    'b_bucket{worker="w\\"2",le="1",model="x y{}"} 2',
    'b_sum{worker="w\\"2"} 2',
    '# HELP c Own.',
    '# TYPE c gauge',
    'c{worker="w\\"2"} 3',
    '# HELP lintel_gateway_worker_up 1 where the process answered this scrape.',
    '# TYPE lintel_gateway_worker_up gauge',
    'lintel_gateway_worker_up{worker="w1"} 1',
    'lintel_gateway_worker_up{worker="w\\"2"} 1',
    'lintel_gateway_worker_up{worker="w3"} 0',
  ]);
});
