import { describe, expect, test } from '@jest/globals';
import { plainUsage } from './plain-usage.ts';
import { usageOf } from './usage.ts';

const read = (json: string): unknown => plainUsage(Buffer.from(`"usage":${json}} `), 8);

describe('a usage object is read from its bytes', () => {
  test.each([
    [
      'of vLLM',
      '{"prompt_tokens":57,"total_tokens":72,"completion_tokens":15,"prompt_tokens_details":{"cached_tokens":32}}',
    ],
    ['without details', '{"prompt_tokens":57,"total_tokens":72,"completion_tokens":15,"prompt_tokens_details":null}'],
    [
      'with blanks',
      '{ "prompt_tokens" : 5 ,\n "completion_tokens": 0, "prompt_tokens_details" : { "audio_tokens" : 3, "cached_tokens": 4 } }',
    ],
    [
      'with more details',
      '{"completion_tokens":9,"completion_tokens_details":{"reasoning_tokens":2},"prompt_tokens":1}',
    ],
    [
      'whose last word counts',
      '{"prompt_tokens":1,"prompt_tokens":2,"prompt_tokens_details":{"cached_tokens":1},"prompt_tokens_details":null}',
    ],
    ['of a prompt alone', '{"prompt_tokens":12,"total_tokens":12}'],
  ])('%s', (_what, json) => {
    const counts = read(json);
    expect(counts).toBeDefined();
    expect(counts).toEqual(usageOf(JSON.parse(json)));
  });

  test.each([
    ['of no counts', '{"total_tokens":12}'],
    ['of Anthropic', '{"input_tokens":3,"output_tokens":4}'],
    ['with a fraction', '{"prompt_tokens":1.5,"completion_tokens":2}'],
    ['with an exponent', '{"prompt_tokens":1e3,"completion_tokens":2}'],
    ['with a sign', '{"prompt_tokens":-1,"completion_tokens":2}'],
    ['with a leading zero', '{"prompt_tokens":01,"completion_tokens":2}'],
    ['beyond what is plain', '{"prompt_tokens":12345678901,"completion_tokens":2}'],
    ['with an escape', '{"prompt\\u005ftokens":1,"completion_tokens":2}'],
    ['with a text', '{"prompt_tokens":1,"service_tier":"x"}'],
    ['with a list', '{"prompt_tokens":1,"all":[1]}'],
    ['with details of details', '{"prompt_tokens":1,"a":{"b":{}}}'],
    ['of nothing', '{}'],
    ['cut', '{"prompt_tokens":1,'],
    ['without a comma', '{"prompt_tokens":1 "completion_tokens":2}'],
    ['ended as a list', '{"prompt_tokens":1]'],
  ])('one %s is left to others', (_what, json) => expect(read(json)).toBeUndefined());
});
