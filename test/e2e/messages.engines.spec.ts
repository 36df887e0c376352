import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import Anthropic from '@anthropic-ai/sdk';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Lintel, lintel, removeFolder, startLintel, temporaryFolder } from './lintel-process.ts';
import type { VllmEngine } from './vllm.ts';
import { controlEngine, python, startEngine, vllmEngines } from './vllm.ts';

const engineName = 'messages';
const hello = { model: 'tiny', max_tokens: 12, messages: [{ role: 'user' as const, content: 'Hello, messages' }] };
const greedy = { ...hello, temperature: 0 };
const weather: Anthropic.Tool = {
  name: 'weather',
  input_schema: {
    type: 'object',
    properties: { city: { type: 'string', enum: ['Bern', 'Basel'] } },
    required: ['city'],
    additionalProperties: false,
  },
};

const pythonClient = `
import json, sys
from anthropic import Anthropic, APIStatusError, BadRequestError, NotFoundError
client = Anthropic(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0,
        default_headers={"external-filter": "lintel.messages=" + sys.argv[3]})
ask = dict(model="tiny", max_tokens=12, messages=[{"role": "user", "content": "Hello, messages"}], extra_body={"temperature": 0})
whole = client.messages.create(**ask)
with client.messages.stream(**ask) as stream:
    streamed = "".join(stream.text_stream)
    final = stream.get_final_message()
tool = client.messages.create(**{**ask, "max_tokens": 60}, tool_choice={"type": "tool", "name": "weather"}, tools=json.loads(sys.argv[4]))
def refused(**more):
    try:
        client.messages.create(**{**ask, **more})
    except APIStatusError as error:
        return [type(error).__name__, error.status_code]
print(json.dumps({"whole": whole.content[0].text, "streamed": streamed, "stop": final.stop_reason,
        "usage": [whole.usage.input_tokens + (whole.usage.cache_read_input_tokens or 0), whole.usage.output_tokens, final.usage.output_tokens],
        "tool": [tool.stop_reason, [b.name for b in tool.content if b.type == "tool_use"]],
        "count": client.messages.count_tokens(model="tiny", messages=ask["messages"]).input_tokens,
        "tooLong": refused(max_tokens=9000), "unknown": refused(model="no-such-model")}))
`;

interface Why {
  readonly request: {
    readonly outcome: string;
    readonly attempts: readonly { readonly replicaId: string; readonly sentAs: string }[];
    readonly usage: { readonly completionTokens: number; readonly fromEngine: boolean };
  };
}

(vllmEngines.length === 0 ? describe.skip : describe)("Anthropic's messages before a real vLLM", () => {
  let folder: string;
  let home: string;
  let running: Lintel;
  let engine: VllmEngine;
  /** The engine's own word: what the clients must get, however they are led there. */
  let expected: string;

  const clientOf = (how: string): Anthropic =>
    new Anthropic({
      baseURL: running.gatewayUrl,
      apiKey: running.apiKey,
      maxRetries: 0,
      defaultHeaders: { 'external-filter': `lintel.messages=${how}` },
    });
  const textOf = ({ content }: Anthropic.Message): string => (content[0] as Anthropic.TextBlock).text;
  const why = async (id: string | null | undefined): Promise<Why['request']> =>
    (JSON.parse((await lintel(home, 'why', id ?? '', '--json')).output) as Why).request;

  beforeAll(async () => {
    engine = await startEngine(engineName, {
      extraArgs: ['--enable-auto-tool-choice', '--tool-call-parser', 'hermes'],
    });
    const direct = new Anthropic({ baseURL: engine.url, apiKey: 'none', maxRetries: 0 });
    expected = textOf(await direct.messages.create(greedy));
    folder = await temporaryFolder();
    home = join(folder, 'home');
    const file = join(folder, 'lintel.yaml');
    const replica = (how: string): object => ({ id: how, url: engine.url, labels: { 'lintel.messages': how } });
    await writeFile(file, JSON.stringify({ replicas: [replica('native'), replica('translated')] }));
    running = await startLintel(home, ['--config', file]);
  }, 120_000);
  afterAll(async () => {
    await running?.program.end();
    await removeFolder(folder);
    await controlEngine('kill', engineName).catch(() => undefined);
  }, 60_000);

  describe.each(['native', 'translated'])('%s', (how) => {
    test('the npm client: whole, as a stream, and the record says as what it was sent', async () => {
      const client = clientOf(how);
      const { data: whole, response } = await client.messages.create(greedy).withResponse();
      expect([textOf(whole), whole.stop_reason, whole.usage.output_tokens]).toEqual([expected, 'max_tokens', 12]);
      const stream = client.messages.stream(greedy);
      let text = '';
      stream.on('text', (part) => (text += part));
      const last = await stream.finalMessage();
      expect([text, textOf(last), last.stop_reason, last.usage.output_tokens]).toEqual([
        expected,
        expected,
        'max_tokens',
        12,
      ]);
      expect(await why(response.headers.get('x-lintel-request-id'))).toMatchObject({
        outcome: 'completed',
        attempts: [{ replicaId: how, sentAs: how === 'native' ? '' : '/v1/chat/completions (label)' }],
        usage: { completionTokens: 12, fromEngine: true },
      });
    });

    test('the npm client: a tool that it must use', async () => {
      const ask = {
        ...greedy,
        max_tokens: 60,
        tools: [weather],
        tool_choice: { type: 'tool' as const, name: 'weather' },
      };
      // What a random model gives the tool is nothing that a parser could read: that it is called is all.
      const whole = await clientOf(how).messages.create(ask);
      expect([whole.stop_reason, whole.content.map(({ type }) => type)]).toEqual(['tool_use', ['tool_use']]);
      expect(whole.content[0]).toMatchObject({ name: 'weather' });
      const streamed = await clientOf(how).messages.stream(ask).finalMessage();
      expect([streamed.stop_reason, streamed.content[0]]).toMatchObject(['tool_use', { name: 'weather' }]);
    });

    test('the official Python client: text, stream, tool, count and errors', async () => {
      const args = [running.gatewayUrl, running.apiKey, how, JSON.stringify([weather])];
      const said = (await python(pythonClient, args)) as Record<string, any>;
      expect(said).toMatchObject({
        whole: expected,
        streamed: expected,
        stop: 'max_tokens',
        usage: [said['count'], 12, 12],
        tooLong: ['BadRequestError', 400],
        unknown: ['NotFoundError', 404],
      });
      expect(said['count']).toBeGreaterThan(5);
      expect(said['tool']).toEqual(['tool_use', ['weather']]);
    });
  });

  test('both ways count and say the same', async () => {
    const count = async (how: string): Promise<number> => {
      const { model, messages } = hello;
      return (await clientOf(how).messages.countTokens({ model, messages, system: 'Be kind.' })).input_tokens;
    };
    expect(await count('translated')).toBe(await count('native'));
  });
});
