import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type RunningEngineSim, startEngineSim } from './index.ts';

let sim: RunningEngineSim;

beforeAll(async () => {
  sim = await startEngineSim({ speed: 50, models: ['m'] });
});
afterAll(() => sim.stop());

const ask = (body: Record<string, unknown>, path = '/v1/chat/completions', init: RequestInit = {}): Promise<Response> =>
  fetch(sim.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...init.headers },
    body: JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'hi' }], ...body }),
    ...(init.signal === undefined ? {} : { signal: init.signal }),
  });

describe('answers', () => {
  test('a stream says the same as the whole answer', async () => {
    const whole = (await (await ask({ temperature: 0, max_tokens: 20 })).json()) as {
      choices: { message: { content: string } }[];
    };
    const text = await (await ask({ temperature: 0, max_tokens: 20, stream: true })).text();
    const said = [...text.matchAll(/"content":("[^"]*")/g)].map((match) => JSON.parse(match[1]!) as string).join('');
    expect(said).toBe(whole.choices[0]!.message.content);
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true);
  });
});
