import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { route } from '#libs/contracts';
import type { ProbeAnswer } from '#libs/engines';
import { detectEngine, engineLimits, engineProfile, parseModels, parseSleeping } from '#libs/engines';
import { recorded } from './fixtures.fixture.ts';

describe('models and adapters', () => {
  test('of a real vLLM with an adapter', () => {
    expect(parseModels(recorded('models-after-adapter').text)).toEqual({
      ownedBy: 'vllm',
      models: [
        { id: 'tiny', parent: undefined, maxModelLen: 4096 },
        { id: 'l0', parent: 'tiny', maxModelLen: undefined },
      ],
    });
  });

  test.each([
    ['', 'no JSON'],
    ['<html>', 'no JSON'],
    ['[]', 'no list'],
    ['{"data":{}}', 'no list'],
    ['{"data":[{}]}', 'data[0] has no id'],
    ['{"data":[{"id":"a"},7]}', 'data[1] has no id'],
    [JSON.stringify({ data: [{ id: 'a\r\nx: y' }] }), 'not a model name'],
    [JSON.stringify({ data: [{ id: 'a'.repeat(engineLimits.modelNameLengthMax + 1) }] }), 'not a model name'],
    [JSON.stringify({ data: Array.from({ length: engineLimits.modelsMax + 1 }, () => ({ id: 'a' })) }), 'models'],
    [' '.repeat(engineLimits.modelsBytesMax + 1), 'characters'],
  ])('%# names what is wrong', (text, problem) => {
    expect(parseModels(text)).toEqual({ problem: expect.stringContaining(problem) });
  });

  test('whatever JSON an engine answers, names are usable or the whole is not', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.json(),
          fc
            .array(fc.record({ id: fc.anything(), parent: fc.anything(), max_model_len: fc.anything() }))
            .map((data) => JSON.stringify({ data }, (_, v: unknown) => (typeof v === 'bigint' ? 1 : v)) ?? ''),
        ),
        (text) => {
          const list = parseModels(text);
          if ('problem' in list) return;
          for (const { id, parent, maxModelLen } of list.models) {
            expect(typeof id === 'string' && id.length > 0).toBe(true);
            expect(['string', 'undefined']).toContain(typeof parent);
            expect(maxModelLen === undefined || maxModelLen > 0).toBe(true);
          }
        },
      ),
    );
  });

  test('asleep or awake', () => {
    expect(parseSleeping(recorded('is-sleeping-asleep').text)).toEqual({ sleeping: true });
    expect(parseSleeping(recorded('is-sleeping-before').text)).toEqual({ sleeping: false });
    for (const text of ['', 'true', '{"is_sleeping":"yes"}']) expect(parseSleeping(text)).toHaveProperty('problem');
  });
});

/** Asks as a poller would. */
function detect(answers: Record<string, string | number>): {
  kind?: route.EngineKind;
  problem?: string;
  asked: string[];
} {
  const seen = new Map<string, ProbeAnswer>();
  for (;;) {
    const detection = detectEngine(seen);
    if (!('ask' in detection)) return { ...detection, asked: [...seen.keys()] };
    const answer = answers[detection.ask] ?? 404;
    seen.set(detection.ask, typeof answer === 'number' ? { status: answer, text: '' } : { status: 200, text: answer });
  }
}

const ownedBy = (owner: string): string => JSON.stringify({ data: [{ id: 'm', owned_by: owner }] });

describe('which engine answers', () => {
  const { VLLM, SGLANG, LLAMA_CPP, TENSORRT_LLM, OPENAI } = route.EngineKind;
  test.each([
    ['vLLM by the owner of its model', { '/v1/models': recorded('models-before-adapter').text }, VLLM],
    ['SGLang by the owner', { '/v1/models': ownedBy('sglang') }, SGLANG],
    ['llama.cpp by the owner', { '/v1/models': ownedBy('llamacpp') }, LLAMA_CPP],
    ['TensorRT-LLM by the owner', { '/v1/models': ownedBy('tensorrt_llm') }, TENSORRT_LLM],
    [
      'llama.cpp by its properties',
      { '/v1/models': ownedBy('me'), '/props': '{"default_generation_settings":{}}' },
      LLAMA_CPP,
    ],
    [
      'SGLang by its server info',
      { '/v1/models': ownedBy('me'), '/get_server_info': '{"internal_states":[]}' },
      SGLANG,
    ],
    ['vLLM by its metrics', { '/v1/models': 401, '/metrics': recorded('metrics').text }, VLLM],
    ['vLLM by its version', { '/v1/models': 401, '/version': recorded('version').text }, VLLM],
    ['another OpenAI-compatible', { '/v1/models': ownedBy('acme') }, OPENAI],
    ['a guarded one', { '/v1/models': 401 }, OPENAI],
  ])('%s', (_, answers, kind) => {
    expect(detect(answers as Record<string, string | number>)).toMatchObject({ kind });
  });

  test('a page of the web is no engine, and the reason is told', () => {
    expect(detect({ '/v1/models': '<html>hello</html>', '/props': '<html>', '/version': '<html>' }).problem).toContain(
      'no JSON',
    );
    expect(detect({ '/v1/models': 302 }).problem).toContain('302');
    expect(detect({ '/v1/models': 0 })).toEqual({ problem: 'nothing answers', asked: ['/v1/models'] });
  });

  test('it always ends, after six questions at most', () => {
    fc.assert(
      fc.property(fc.infiniteStream(fc.oneof(fc.json(), fc.string(), fc.integer({ min: 0, max: 599 }))), (stream) => {
        const seen = new Map<string, ProbeAnswer>();
        for (let asked = 0; asked <= 6; asked++) {
          const detection = detectEngine(seen);
          if (!('ask' in detection)) return;
          const [answer] = stream.take(1);
          seen.set(
            detection.ask,
            typeof answer === 'number' ? { status: answer, text: '' } : { status: 200, text: answer as string },
          );
        }
        throw new Error('it asks for ever');
      }),
    );
  });

  test('each kind has its paths', () => {
    expect(engineProfile(VLLM)).toMatchObject({
      sleepingPath: '/is_sleeping',
      lora: { loadPath: '/v1/load_lora_adapter' },
    });
    expect(engineProfile(SGLANG)?.lora?.unloadPath).toBe('/unload_lora_adapter');
    expect(engineProfile(OPENAI)).toMatchObject({ healthPath: '/v1/models', metricsPath: undefined });
    expect(engineProfile(route.EngineKind.UNSPECIFIED)).toBeUndefined();
  });
});
