import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { route } from '#libs/contracts';
import type { EngineProfile } from '#libs/engines';
import { engineLimits, engineProfile, labelOf, readLoad, samplesOf } from '#libs/engines';
import { systemClock } from '#libs/kernel';
import { recorded } from './fixtures.fixture.ts';

const profile = (kind: route.EngineKind): EngineProfile => engineProfile(kind) as EngineProfile;
const vllm = profile(route.EngineKind.VLLM);

describe('the load of a replica', () => {
  test('the page of a real vLLM', () => {
    expect(readLoad(vllm, recorded('metrics').text)).toEqual({
      waiting: 0,
      running: 0,
      kvUse: 0,
      kvUseMax: 0,
      // An older set with the adapter still stands on the page.
      adapters: { slotsMax: 2, running: [], waiting: [] },
    });
    expect(readLoad(vllm, recorded('metrics-overloaded').text)).toMatchObject({
      waiting: 1,
      running: 1,
      kvUse: 0.003913894324853229,
      adapters: { running: [], waiting: [] },
    });
  });

  test('counts are summed over data-parallel engines, use is their mean', () => {
    const page = ['0', '1'].map(
      (engine) =>
        `vllm:num_requests_running{engine="${engine}"} ${engine}\nvllm:kv_cache_usage_perc{engine="${engine}"} 0.${engine}\n`,
    );
    page.push('vllm:num_requests_running{engine="2",model_name="a}b\\"c"} 4.0 1795531117\n');
    expect(readLoad(vllm, page.join(''))).toEqual({
      waiting: undefined,
      running: 5,
      kvUse: 0.05,
      kvUseMax: 0.1,
      adapters: undefined,
    });
  });

  test('the older name of a family counts where the newer is missing', () => {
    expect(readLoad(vllm, 'vllm:gpu_cache_usage_perc 0.5\n')).toMatchObject({ kvUse: 0.5 });
    expect(readLoad(vllm, 'vllm:gpu_cache_usage_perc 0.5\nvllm:kv_cache_usage_perc 0.25')).toMatchObject({
      kvUse: 0.25,
    });
  });

  test('the newest label set of adapters counts, wherever it stands', () => {
    const lora = (running: string, at: string): string =>
      `vllm:lora_requests_info{max_lora="4",running_lora_adapters="${running}",waiting_lora_adapters=""} ${at}\n`;
    const page = `vllm:num_requests_running 1\n${lora('a', '1.7e9')}${lora('b, c', '1.8e9')}${lora('d', '1.6e9')}`;
    expect(readLoad(vllm, page)).toMatchObject({ adapters: { slotsMax: 4, running: ['b', 'c'], waiting: [] } });
  });

  test.each([
    [route.EngineKind.SGLANG, 'sglang:num_running_reqs{a="1"} 3\nsglang:num_queue_reqs 2\nsglang:token_usage 0.5\n'],
    [
      route.EngineKind.LLAMA_CPP,
      'llamacpp:requests_processing 3\nllamacpp:requests_deferred 2\nllamacpp:kv_cache_usage_ratio 0.5\n',
    ],
    [
      route.EngineKind.TENSORRT_LLM,
      'trtllm_num_requests_running 3\ntrtllm_num_requests_waiting 2\ntrtllm_kv_cache_utilization 0.5\n',
    ],
  ])('engine kind %i', (kind, page) => {
    expect(readLoad(profile(kind), page)).toMatchObject({ running: 3, waiting: 2, kvUse: 0.5 });
  });

  test('what is no count is unknown, never zero', () => {
    expect(readLoad(vllm, 'vllm:num_requests_running NaN\nvllm:num_requests_waiting 2\n')).toMatchObject({
      running: undefined,
      waiting: 2,
    });
    expect(readLoad(vllm, 'vllm:num_requests_running -1\nvllm:num_requests_waiting 2')).toMatchObject({
      running: undefined,
    });
    for (const page of ['', '<html>', 'vllm:num_requests_running +Inf', 'vllm:num_requests_running']) {
      expect(readLoad(vllm, page)).toMatchObject({ problem: expect.stringContaining('vllm:num_requests_running') });
    }
    expect(readLoad(vllm, 'x'.repeat(engineLimits.metricsBytesMax + 1))).toHaveProperty('problem');
  });
});

describe('samples out of a page', () => {
  test('a family is not one whose name begins alike, nor one inside a label', () => {
    const page = 'a_total 1\na 2\nb{x="a 3"} 4\n# HELP a 5\n a 6\na{} 7\na_bucket{le="1"} 8\na{x="1"}9\na\t10\n';
    expect(samplesOf(page, 'a').map(({ value }) => value)).toEqual([2, 7, 9, 10]);
  });

  test('what is written is read back (any labels, any value)', () => {
    const label = fc.string({
      unit: fc.constantFrom('a', '"', '\\', '\n', '{', '}', ',', '=', ' ', 'é', '😀'),
      maxLength: 12,
    });
    const escaped = (text: string): string =>
      text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
    const value = fc.double({ noNaN: true, noDefaultInfinity: true });
    fc.assert(
      fc.property(fc.array(fc.tuple(label, label, value), { maxLength: 20 }), (rows) => {
        const page = rows.map(
          ([x, y, v]) => `other{x="${escaped(x)}"} 1\nfamily{x="${escaped(x)}",yy="${escaped(y)}"} ${v}\n`,
        );
        const samples = samplesOf(page.join(''), 'family');
        expect(samples.map((s) => [labelOf(s.labels, 'x'), labelOf(s.labels, 'yy'), s.value])).toEqual(
          rows.map(([x, y, v]) => [x, y, Number(String(v))]),
        );
      }),
    );
  });

  test('a page made to be slow is not', () => {
    const long = 'a'.repeat(engineLimits.labelsBytesMax - 100);
    const digits = '1'.repeat(engineLimits.labelsBytesMax - 100);
    const page = `vllm:num_requests_running ${digits}x\nvllm:lora_requests_info{${long}} 1\n`.repeat(50);
    const startMs = systemClock.monotonicMs();
    readLoad(vllm, page);
    expect(systemClock.monotonicMs() - startMs).toBeLessThan(2_000);
  });

  test('garbage never throws and yields finite values only', () => {
    const bit = fc.oneof(
      fc.string({ maxLength: 8 }),
      fc.constantFrom('vllm:num_requests_running', '{', '}', '"', '\\', '\n', ' ', 'NaN', '1e999', '12', '# TYPE '),
    );
    fc.assert(
      fc.property(fc.array(bit, { maxLength: 40 }), (bits) => {
        const page = bits.join('');
        const load = readLoad(vllm, page);
        if (!('problem' in load)) {
          for (const name of ['running', 'waiting', 'kvUse'] as const) {
            const value = load[name];
            expect(value === undefined || (Number.isFinite(value) && value >= 0)).toBe(true);
          }
        }
        for (const { labels } of samplesOf(page, 'vllm:num_requests_running')) labelOf(labels, 'engine');
      }),
    );
  });
});

test('of a page with several data-parallel engines one rank has what is labelled with its number', () => {
  const page = [0, 1]
    .map(
      (rank) =>
        `vllm:num_requests_running{engine="${rank}",model_name="m"} ${rank + 1}\nvllm:num_requests_waiting{engine="${rank}"} ${rank}\n`,
    )
    .join('');
  const vllm = engineProfile(route.EngineKind.VLLM) as EngineProfile;
  expect(readLoad(vllm, page, 1)).toMatchObject({ running: 2, waiting: 1 });
  expect(readLoad(vllm, page)).toMatchObject({ running: 3, waiting: 1 });
  expect(readLoad(vllm, page, 7)).toHaveProperty('problem');
});
