import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type RunningEngineSim, startEngineSim } from './index.ts';

let sim: RunningEngineSim;
beforeAll(async () => {
  sim = await startEngineSim({ speed: 1000, models: ['m'], maxModelLen: 200, kvTransfer: true });
});
afterAll(() => sim.stop());

const names = (
  'model messages prompt input max_tokens n stream stream_options stop logprobs seed top_logprobs temperature ' +
  'top_p min_tokens structured_outputs cache_salt echo tools system tokens lora_name lora_path request_id max_output_tokens instructions return_token_ids'
).split(' ');
const message = fc.record({
  role: fc.constantFrom('user', 'assistant', 'x'),
  content: fc.oneof(fc.string(), fc.jsonValue()),
});
const body = fc
  .record({
    usual: fc.record(
      {
        messages: fc.array(message),
        prompt: fc.string(),
        input: fc.string(),
        max_tokens: fc.integer({ min: 1, max: 20 }),
      },
      { requiredKeys: [] },
    ),
    odd: fc.dictionary(fc.constantFrom(...names), fc.jsonValue(), { maxKeys: 3 }),
  })
  .map(({ usual, odd }) => ({ ...usual, ...odd }));
const path = fc.constantFrom(
  '/v1/chat/completions',
  '/v1/completions',
  '/v1/responses',
  '/v1/messages',
  '/v1/messages/count_tokens',
  '/tokenize',
  '/detokenize',
  '/v1/load_lora_adapter',
  '/v1/unload_lora_adapter',
  '/sim/faults',
);

test('whatever a client sends is answered or refused as its own mistake, and the engine serves on', async () => {
  await fc.assert(
    fc.asyncProperty(path, body, async (where, sent) => {
      const response = await fetch(sim.url + where, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(sent),
      });
      const text = await response.text();
      if (response.status >= 500) throw new Error(`${where} ${JSON.stringify(sent)} → ${response.status} ${text}`);
    }),
    { numRuns: 400 },
  );
  const load = (await (await fetch(`${sim.url}/load`)).json()) as { server_load: number };
  expect(load.server_load).toBe(0);
});
