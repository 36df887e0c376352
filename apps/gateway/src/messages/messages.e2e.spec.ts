import Anthropic from '@anthropic-ai/sdk';
import { afterEach, describe, expect, test } from '@jest/globals';
import { startEngineSim } from '#apps/engine-sim';
import { route } from '#libs/contracts';
import type { TestGateway } from '../serve/serve.fixture.ts';
import { afterwards, chat, closeAll, engine, gateway, rawEngine, sse } from '../serve/serve.fixture.ts';

const { AttemptEnd, Outcome } = route;

afterEach(closeAll);

const sim = async (): Promise<string> => {
  const running = await startEngineSim({ port: 0, models: ['tiny'], paceMs: 1 });
  afterwards(() => running.stop());
  return running.url;
};

const clientOf = ({ url }: TestGateway): Anthropic => new Anthropic({ baseURL: url, apiKey: 'any', maxRetries: 0 });
const hello = { model: 'tiny', max_tokens: 6, messages: [{ role: 'user' as const, content: 'Hello' }] };

/** Chat completions alone: every other path is what FastAPI answers of a path that it lacks. */
function chatOnly(
  answer: (body: Record<string, any>) => { status?: number; json?: unknown; stream?: string },
): Promise<string> {
  return engine((body, response, { url }) => {
    if (url !== '/v1/chat/completions' && url !== '/tokenize') {
      response.writeHead(404, { 'content-type': 'application/json' }).end('{"detail":"Not Found"}');
      return;
    }
    const { status = 200, json, stream } = answer({ ...(JSON.parse(body) as object), url });
    const type = stream === undefined ? 'application/json' : 'text/event-stream';
    response.writeHead(status, { 'content-type': type }).end(stream ?? JSON.stringify(json));
  });
}

const usage = { prompt_tokens: 10, completion_tokens: 3, prompt_tokens_details: { cached_tokens: 4 } };
const said = (content: string): unknown => ({
  id: 'c',
  model: 'tiny',
  choices: [{ message: { role: 'assistant', content }, finish_reason: 'stop' }],
  usage,
});

describe.each(['native', 'translated'])("Anthropic's client over an engine that is %s", (how) => {
  const begin = async (): Promise<TestGateway> => {
    const lintel = await gateway([await sim()]);
    lintel.fleet.replicas[0]!.labels = { 'lintel.messages': how };
    return lintel;
  };

  test('gets a message, its usage in the record', async () => {
    const lintel = await begin();
    const message = await clientOf(lintel).messages.create({ ...hello, system: 'Be kind.' });
    expect(message).toMatchObject({ type: 'message', role: 'assistant', model: 'tiny', stop_reason: 'max_tokens' });
    expect(message.content[0]).toMatchObject({ type: 'text' });
    expect(message.usage.output_tokens).toBe(6);
    const record = await lintel.record();
    expect(record).toMatchObject({
      endpoint: '/v1/messages',
      outcome: Outcome.COMPLETED,
      usage: {
        promptTokens: message.usage.input_tokens + (message.usage.cache_read_input_tokens ?? 0),
        completionTokens: 6,
        fromEngine: true,
      },
      attempts: [{ sentAs: how === 'native' ? undefined : '/v1/chat/completions (label)' }],
    });
  });

  test('gets the same message as a stream', async () => {
    const lintel = await begin();
    // Nothing is drawn, so that both say the same.
    const greedy = { ...hello, temperature: 0 };
    const whole = await clientOf(lintel).messages.create(greedy);
    const stream = clientOf(lintel).messages.stream(greedy);
    const types = new Set<string>();
    for await (const { type } of stream) types.add(type);
    const message = await stream.finalMessage();
    expect(message.content[0]).toMatchObject({ type: 'text', text: (whole.content[0] as { text: string }).text });
    expect(message.stop_reason).toBe('max_tokens');
    expect(message.usage.output_tokens).toBe(6);
    expect([...types]).toEqual([
      'message_start',
      'content_block_start',
      'content_block_delta',
      'content_block_stop',
      'message_delta',
      'message_stop',
    ]);
    expect(lintel.records[1]).toMatchObject({ stream: true, usage: { completionTokens: 6, fromEngine: true } });
    expect(lintel.records[1]!.timings!.tokenGaps).toBeGreaterThan(0);
  });

  test('counts tokens', async () => {
    const lintel = await begin();
    const { input_tokens: tokens } = await clientOf(lintel).messages.countTokens({
      model: 'tiny',
      messages: hello.messages,
    });
    expect(tokens).toBeGreaterThan(1);
    const message = await clientOf(lintel).messages.create(hello);
    expect(message.usage.input_tokens + (message.usage.cache_read_input_tokens ?? 0)).toBe(tokens);
  });

  test("gets errors in Anthropic's shape", async () => {
    const lintel = await begin();
    const failing = clientOf(lintel).messages.create({ ...hello, max_tokens: 0 });
    await expect(failing).rejects.toBeInstanceOf(Anthropic.BadRequestError);
    await expect(clientOf(lintel).messages.create({ ...hello, model: 'nope' })).rejects.toBeInstanceOf(
      Anthropic.NotFoundError,
    );
  });
});

describe('An engine that lacks /v1/messages', () => {
  test('is found out by its first 404, and asked for chat completions from then on', async () => {
    const asked: string[] = [];
    const origin = await engine((body, response, { url }) => {
      asked.push(url ?? '');
      const lacks = url?.startsWith('/v1/messages') === true;
      response.writeHead(lacks ? 404 : 200, { 'content-type': 'application/json' });
      response.end(lacks ? '{"detail":"Not Found"}' : JSON.stringify(said(JSON.parse(body).messages[0].content)));
    });
    const lintel = await gateway([origin]);
    for (let turn = 0; turn < 2; turn++) {
      const message = await clientOf(lintel).messages.create(hello);
      expect(message.content).toEqual([{ type: 'text', text: 'Hello' }]);
      expect(message.usage).toMatchObject({ input_tokens: 6, cache_read_input_tokens: 4, output_tokens: 3 });
    }
    expect(asked).toEqual(['/v1/messages', '/v1/chat/completions', '/v1/chat/completions']);
    expect(lintel.records.map(({ attempts }) => attempts.map(({ sentAs, end }) => [sentAs, end]))).toEqual([
      [['/v1/chat/completions (learnt)', AttemptEnd.ANSWERED]],
      [['/v1/chat/completions (learnt)', AttemptEnd.ANSWERED]],
    ]);
    expect(lintel.records[0]!.usage).toEqual({
      promptTokens: 10,
      completionTokens: 3,
      cachedTokens: 4,
      fromEngine: true,
    });
  });

  test('is none for its word that the model is unknown, which is told', async () => {
    const asked: string[] = [];
    const lintel = await gateway([
      await engine((_body, response, { url }) => {
        asked.push(url ?? '');
        response.writeHead(404, { 'content-type': 'application/json' });
        response.end('{"error":{"message":"no such model","type":"NotFoundError","code":404}}');
      }),
    ]);
    for (let turn = 0; turn < 2; turn++) {
      await expect(clientOf(lintel).messages.create(hello)).rejects.toThrow(/no such model/);
    }
    expect(asked.filter((path) => path.startsWith('/v1/messages'))).toHaveLength(2);
  });

  test('is TensorRT-LLM without a question', async () => {
    const asked: string[] = [];
    const lintel = await gateway([
      await engine((_body, response, { url }) => {
        asked.push(url ?? '');
        response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(said('ok')));
      }),
    ]);
    lintel.fleet.replicas[0]!.engine = route.EngineKind.TENSORRT_LLM;
    await clientOf(lintel).messages.create(hello);
    expect(asked).toEqual(['/v1/chat/completions']);
    expect((await lintel.record()).attempts[0]!.sentAs).toBe('/v1/chat/completions (engine)');
  });

  const weather = {
    name: 'weather',
    input_schema: { type: 'object' as const, properties: { city: { type: 'string' } } },
  };

  test('calls tools, whole and as a stream', async () => {
    const call = { index: 0, id: 't1', type: 'function', function: { name: 'weather', arguments: '{"city":"Bern"}' } };
    const bodies: Record<string, any>[] = [];
    const lintel = await gateway([
      await chatOnly((body) => {
        bodies.push(body);
        if (body['stream'] !== true) {
          const choices = [{ message: { content: null, tool_calls: [call] }, finish_reason: 'tool_calls' }];
          return { json: { id: 'c', model: 'tiny', choices, usage } };
        }
        const chunk = (delta: unknown, finish_reason: string | null = null): unknown => ({
          id: 'c',
          model: 'tiny',
          choices: [{ delta, finish_reason }],
        });
        return {
          stream: sse(
            chunk({ tool_calls: [call] }),
            chunk({}, 'tool_calls'),
            { id: 'c', choices: [], usage },
            '[DONE]',
          ),
        };
      }),
    ]);
    const ask = { ...hello, tools: [weather], tool_choice: { type: 'any' as const } };
    const whole = await clientOf(lintel).messages.create(ask);
    const streamed = await clientOf(lintel).messages.stream(ask).finalMessage();
    for (const message of [whole, streamed]) {
      expect(message.content).toMatchObject([{ type: 'tool_use', id: 't1', name: 'weather', input: { city: 'Bern' } }]);
      expect(message.stop_reason).toBe('tool_use');
    }
    expect(bodies[0]).toMatchObject({ tool_choice: 'required', tools: [{ function: { name: 'weather' } }] });
    expect(bodies[1]!['stream_options']).toEqual({ include_usage: true });
  });

  test("tells its errors in Anthropic's shape, before and inside a stream", async () => {
    const lintel = await gateway([
      await chatOnly(({ stream }) =>
        stream === true
          ? { stream: sse({ id: 'c', choices: [{ delta: { content: 'a' } }] }, { error: { message: 'boom' } }) }
          : { status: 400, json: { error: { message: 'too long', type: 'BadRequestError' } } },
      ),
    ]);
    const failed = clientOf(lintel).messages.create(hello);
    await expect(failed).rejects.toMatchObject({
      status: 400,
      error: { type: 'error', error: { message: 'too long' } },
    });
    await expect(clientOf(lintel).messages.stream(hello).finalMessage()).rejects.toThrow(/boom/);
    expect(lintel.records.map(({ outcome }) => outcome)).toEqual([Outcome.UPSTREAM_ERROR, Outcome.UPSTREAM_BROKEN]);
  });

  test('whose stream breaks is told so, never ended as if whole', async () => {
    const lintel = await gateway([
      await rawEngine((socket, data) => {
        if (!data.includes('/v1/chat')) return;
        const event = sse({ id: 'c', choices: [{ delta: { content: 'a' } }] });
        socket.write(`HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n${event}`);
        setImmediate(() => socket.resetAndDestroy());
      }),
    ]);
    lintel.fleet.replicas[0]!.labels = { 'lintel.messages': 'translated' };
    await expect(clientOf(lintel).messages.stream(hello).finalMessage()).rejects.toThrow(
      /failed after the answer had begun/,
    );
    expect((await lintel.record()).outcome).toBe(Outcome.UPSTREAM_BROKEN);
  });

  test('that answers what is no completion is passed over for the next replica', async () => {
    const bad = await chatOnly(() => ({ json: { what: 1 } }));
    const good = await chatOnly(() => ({ json: said('ok') }));
    const lintel = await gateway([bad, good]);
    for (const replica of lintel.fleet.replicas) replica.labels = { 'lintel.messages': 'translated' };
    const byTurns = { headers: { 'routing-strategy': 'round-robin' } };
    for (let turn = 0; turn < 4; turn++) {
      expect((await clientOf(lintel).messages.create(hello, byTurns)).content).toMatchObject([{ text: 'ok' }]);
    }
    expect(lintel.records.flatMap(({ attempts }) => attempts.map(({ end }) => end))).toContain(AttemptEnd.BAD_ANSWER);
  });

  test('is not asked for what it cannot be asked', async () => {
    const lintel = await gateway([await chatOnly(() => ({ json: said('ok') }))]);
    lintel.fleet.replicas[0]!.labels = { 'lintel.messages': 'translated' };
    const search = { type: 'web_search_20250305' as const, name: 'web_search' as const };
    const failed = clientOf(lintel).messages.create({ ...hello, tools: [search] });
    await expect(failed).rejects.toMatchObject({
      status: 400,
      message: expect.stringContaining('takes functions only'),
    });
    expect(await lintel.record()).toMatchObject({ errorCode: 'untranslatable', outcome: Outcome.REJECTED_BAD_REQUEST });
    expect(lintel.fleet.replicas[0]!.inflight).toBe(0);
  });
});

test('images by URL go on as they are, in both protocols: the gateway fetches none', async () => {
  let fetched = 0;
  const images = await rawEngine(() => fetched++);
  const url = `${images}/cat.png`;
  const bodies: string[] = [];
  const lintel = await gateway([
    await engine((body, response) => {
      bodies.push(body);
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(said('a cat')));
    }),
  ]);
  lintel.fleet.replicas[0]!.labels = { 'lintel.messages': 'translated' };
  const parts = [
    { type: 'image_url', image_url: { url } },
    { type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA' } },
  ];
  const sent = chat({ messages: [{ role: 'user', content: parts }] });
  await fetch(`${lintel.url}/v1/chat/completions`, {
    method: 'POST',
    body: sent,
    headers: { 'content-type': 'application/json' },
  });
  const image = { type: 'image' as const, source: { type: 'url' as const, url } };
  await clientOf(lintel).messages.create({ ...hello, messages: [{ role: 'user', content: [image] }] });
  expect(bodies[0]).toBe(sent);
  expect(JSON.parse(bodies[1]!).messages[0].content).toEqual([{ type: 'image_url', image_url: { url } }]);
  expect(fetched).toBe(0);
});
