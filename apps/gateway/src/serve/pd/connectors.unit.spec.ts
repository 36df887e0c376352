import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { edited, fieldsOf, setTo } from './body-fields.ts';
import type { ConnectorName, HandoverIds } from './connectors.ts';
import { connectorNames, connectors, requestFields } from './connectors.ts';
import { splittable } from './request-fields.ts';

const ids: HandoverIds = {
  host: '10.0.0.7',
  bootstrapPort: 8998,
  engineId: 'prefill-1',
  requestId: 'q-1',
  number: 2 ** 42 + 5,
};

const body =
  '{ "model":"tiny", "messages":[{"role":"user","content":"\\u0041 stream: \\"max_tokens\\": 9"}],\n "stream" : true,"stream_options":{"include_usage":true},"max_tokens":64,"min_tokens":3,"seed":12345678901234567890 }';
const answers: Partial<Record<ConnectorName, string>> = {
  nixl: '{"id":"x","choices":[{"index":0,"kv_transfer_params":1}],"kv_transfer_params":{"do_remote_prefill":true, "remote_block_ids":[[1,2]],"n":12345678901234567890}}',
  'tensorrt-llm':
    '{"choices":[{"index":0,"text":"a","finish_reason":"length","disaggregated_params":{"request_type": "context_only","first_gen_tokens":[7],"ctx_request_id":9223372036854775807,"encoded_opaque_state":"x=="}}],"prompt_token_ids":[1,2]}',
};
answers['nixl-push'] = answers.nixl!;

const made = (name: ConnectorName, given = body) => {
  const json = Buffer.from(given);
  const fields = fieldsOf(json, requestFields)!;
  const connector = connectors[name];
  const answer = answers[name] ?? '{"kv_transfer_params":null}';
  const decode = connector.decode(fields, ids, connector.atOnce ? undefined : Buffer.from(answer));
  return {
    prefill: edited(json, connector.prefill(fields, ids)).toString(),
    decode: decode === undefined ? undefined : edited(json, decode).toString(),
  };
};

describe("what each side is sent: the client's bytes but for what the connector says", () => {
  const one = body.replace('"stream" : true', '"stream" : false').replace('{"include_usage":true}', 'null');
  const prompt = one.replace('"max_tokens":64', '"max_tokens":1').replace('"min_tokens":3', '"min_tokens":0');
  const params =
    '"kv_transfer_params":{"do_remote_prefill":true, "remote_block_ids":[[1,2]],"n":12345678901234567890},';

  test.each(['nixl', 'nixl-push'] as const)('%s: what the prefill side answers goes on byte for byte', (name) => {
    const { prefill, decode } = made(name);
    const asked =
      '{"do_remote_decode":true,"do_remote_prefill":false,"remote_engine_id":null,"remote_block_ids":null,"remote_host":null,"remote_port":null}';
    expect(prefill).toBe(prompt.replace('{ ', `{"kv_transfer_params":${asked}, `));
    expect(decode).toBe(body.replace('{ ', `{${params} `));
  });

  test('shared-storage: one token first; the decode side is told nothing', () => {
    expect(made('shared-storage')).toEqual({ prefill: prompt, decode: body });
  });

  test('mooncake: both sides know one transfer, and the decode side whom to ask', () => {
    const { prefill, decode } = made('mooncake');
    expect(JSON.parse(prefill)).toMatchObject({
      max_tokens: 1,
      kv_transfer_params: { do_remote_decode: true, do_remote_prefill: false, transfer_id: 'xfer-q-1' },
    });
    expect(JSON.parse(decode!)).toMatchObject({
      max_tokens: 64,
      stream: true,
      kv_transfer_params: {
        do_remote_prefill: true,
        remote_bootstrap_addr: 'http://10.0.0.7:8998',
        remote_engine_id: 'prefill-1',
        transfer_id: 'xfer-q-1',
      },
    });
  });

  test('sglang: both sides meet in one room, at once', () => {
    const { prefill, decode } = made('sglang');
    const room = '"bootstrap_host":"10.0.0.7","bootstrap_port":8998,"bootstrap_room":4398046511109,';
    expect(prefill).toBe(one.replace('{ ', `{${room} `));
    expect(decode).toBe(body.replace('{ ', `{${room} `));
    expect(connectors.sglang.atOnce).toBe(true);
  });

  test("tensorrt-llm: the context side's parameters with another type, numbers beyond 2⁵³ and all", () => {
    const { prefill, decode } = made('tensorrt-llm');
    const asked = '"disaggregated_params":{"request_type":"context_only","disagg_request_id":4398046511109},';
    expect(prefill).toBe(one.replace('{ ', `{${asked} `));
    const handed =
      '"disaggregated_params":{"request_type": "generation_only","first_gen_tokens":[7],"ctx_request_id":9223372036854775807,"encoded_opaque_state":"x=="},';
    expect(decode).toBe(body.replace('{ ', `{${handed} `));
  });

  test('a limit is said where the client said none, and both where it said both', () => {
    expect(JSON.parse(made('nixl', '{"model":"m"}').prefill)).toMatchObject({ max_tokens: 1 });
    const both = JSON.parse(made('nixl', '{"max_completion_tokens":9,"max_tokens":8}').prefill) as object;
    expect(both).toMatchObject({ max_completion_tokens: 1, max_tokens: 1 });
  });
});

test.each<[ConnectorName, string]>([
  ['nixl', '{"kv_transfer_params":null}'],
  ['nixl', '{}'],
  ['nixl', 'not json'],
  ['nixl', '[1]'],
  ['tensorrt-llm', '{"choices":[]}'],
  ['tensorrt-llm', '{"choices":[{"finish_reason":"length","disaggregated_params":null}]}'],
  ['tensorrt-llm', '{"choices":[{"finish_reason":"stop","disaggregated_params":{"request_type":"context_only"}}]}'],
])('%s: from %s there is nothing to take over', (name, answer) => {
  const fields = fieldsOf(Buffer.from(body), requestFields)!;
  expect(connectors[name].decode(fields, ids, Buffer.from(answer))).toBeUndefined();
});

describe('which requests can be computed in two places', () => {
  const chat = '/v1/chat/completions';
  test.each<[string, string, object]>([
    [chat, '{"model":"m","n":1,"messages":[]}', { fields: expect.anything() }],
    ['/v1/completions', '{"model":"m","prompt":"a"}', { fields: expect.anything() }],
    ['/v1/completions', '{"model":"m","prompt":[1,2]}', { fields: expect.anything() }],
    ['/v1/completions', '{"model":"m","prompt":["a"]}', { why: 'prompts' }],
    ['/v1/completions', '{"model":"m","prompt":[[1]]}', { why: 'prompts' }],
    ['/v1/completions', '{"model":"m","prompt":"a","echo":true}', { why: 'prompt-echo' }],
    [chat, '{"model":"m","prompt_logprobs":1}', { why: 'prompt-echo' }],
    [chat, '{"model":"m","n":2}', { why: 'choices' }],
    [chat, '{"model":"m","use_beam_search":true}', { why: 'choices' }],
    ['/v1/embeddings', '{"model":"m"}', { why: 'endpoint' }],
    [chat, '{"model":"m","kv_transfer_params":{"remote_host":"10.0.0.1"}}', { own: 'kv_transfer_params' }],
    [chat, '{"model":"m","kv_transfer\\u005fparams":{}}', { own: 'kv_transfer_params' }],
    [chat, '{"model":"m","bootstrap_host":"x"}', { own: 'bootstrap_host' }],
    [chat, '{"model":"m","kv_transfer_params":null}', { fields: expect.anything() }],
  ])('%s %s', (path, given, expected) => {
    expect(splittable(path, Buffer.from(given))).toEqual(expected);
  });
});

test('L24 an edit changes what it names and no other value of any body', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.constantFrom(...connectorNames), (given, name) => {
      const { kv_transfer_params: _a, disaggregated_params: _b, ...rest } = given;
      const sent = JSON.parse(made(name, JSON.stringify({ ...given, model: 'm' })).prefill) as Record<string, unknown>;
      const touched = requestFields;
      for (const [key, value] of Object.entries(rest)) {
        if (!touched.has(key) && key !== '__proto__' && key !== 'model')
          expect(sent[key]).toEqual(JSON.parse(JSON.stringify(value)));
      }
      const fields = fieldsOf(Buffer.from(JSON.stringify(given)), new Set(['x']))!;
      expect(JSON.parse(edited(fields.json, setTo(fields, 'x', '1')).toString())).toMatchObject({ x: 1 });
    }),
  );
});
