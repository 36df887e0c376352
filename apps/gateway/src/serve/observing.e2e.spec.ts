import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { Context, Span, SpanContext, Tracer } from '@opentelemetry/api';
import { context, propagation, ROOT_CONTEXT, trace } from '@opentelemetry/api';
import OpenAI from 'openai';
import { eventually } from '#libs/testkit';
import { chat, closeAll, engine, gateway, post, sse, token } from './serve.fixture.ts';

afterEach(closeAll);

const usage = { prompt_tokens: 12, completion_tokens: 2, total_tokens: 14 };

/** Answers as an engine does: chat with and without stream, embeddings. */
const openAi = (seen: Record<string, unknown>[] = []): Promise<string> =>
  engine((body, response, request) => {
    seen.push(request.headers);
    if (request.url === '/v1/embeddings') {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(
        JSON.stringify({ object: 'list', data: [{ index: 0, object: 'embedding', embedding: [0.5] }], usage }),
      );
    } else if ((JSON.parse(body) as { stream?: boolean }).stream === true) {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.end(sse(token('Hé'), token('llo'), { choices: [], usage }, '[DONE]'));
    } else {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(
        JSON.stringify({ id: 'c', choices: [{ index: 0, message: { role: 'assistant', content: 'Hi' } }], usage }),
      );
    }
  });

describe('the official client', () => {
  const messages = [{ role: 'user' as const, content: 'Hello' }];

  test('chats, streams, embeds, lists models and sees errors as its own', async () => {
    const lintel = await gateway([await openAi()]);
    const client = new OpenAI({ baseURL: `${lintel.url}/v1`, apiKey: 'any', maxRetries: 0 });
    const answer = await client.chat.completions.create({ model: 'tiny', messages });
    expect([answer.choices[0]!.message.content, answer.usage?.prompt_tokens]).toEqual(['Hi', 12]);
    let text = '';
    const stream = await client.chat.completions.create({ model: 'tiny', messages, stream: true });
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
    expect(text).toBe('Héllo');
    const { data } = await client.embeddings.create({ model: 'tiny', input: 'x', encoding_format: 'float' });
    expect(data[0]!.embedding).toEqual([0.5]);
    const models = await client.models.list();
    expect(models.data.map(({ id }) => id)).toEqual(['tiny']);
    await expect(client.chat.completions.create({ model: 'nope', messages })).rejects.toMatchObject({
      status: 404,
      code: 'model_not_found',
      param: 'model',
    });
  });

  test('throws on a stream that breaks', async () => {
    const lintel = await gateway([
      await engine((_body, response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' }).write(sse(token('a')));
        setTimeout(() => response.destroy(), 10);
      }),
    ]);
    const client = new OpenAI({ baseURL: `${lintel.url}/v1`, apiKey: 'any', maxRetries: 0 });
    const stream = await client.chat.completions.create({ model: 'tiny', messages, stream: true });
    const read = async (): Promise<void> => {
      for await (const chunk of stream) expect(chunk).toBeDefined();
    };
    await expect(read()).rejects.toMatchObject({ code: 'upstream_broken' });
  });
});

test('metrics tell requests, attempts, tokens and times, under bounded labels', async () => {
  const lintel = await gateway([await openAi()], { limits: { modelLabelsMax: 1 } });
  lintel.fleet.served.push({ id: 'second', parent: undefined, maxModelLen: undefined });
  await (await post(lintel, chat({ stream: true }))).text();
  await (await post(lintel, chat({ model: 'second' }))).text();
  for (let turn = 0; turn < 3; turn++) await post(lintel, chat({ model: `invented-${turn}` }));
  await eventually(() => expect(lintel.records).toHaveLength(5));
  const text = await lintel.registry.metrics();
  const value = (line: string): number =>
    Number(new RegExp(`^${line.replaceAll(/[{}]/g, String.raw`\$&`)} (.+)$`, 'm').exec(text)?.[1]);
  const done = 'endpoint="/v1/chat/completions",model="tiny",status="200",outcome="completed"';
  expect(value(`lintel_gateway_requests_total{${done}}`)).toBe(1);
  expect(text).toContain('model="other",status="200"');
  expect(text).toMatch(/model="none",status="404",outcome="rejected_model"\} 3/);
  expect(text).not.toContain('invented');
  expect(value('lintel_gateway_attempts_total{end="answered"}')).toBe(2);
  expect(value('lintel_gateway_tokens_total{model="tiny",kind="prompt"}')).toBe(12);
  expect(value('lintel_gateway_ttft_seconds_count{model="tiny"}')).toBe(1);
  expect(value('lintel_gateway_tpot_seconds_count{model="tiny"}')).toBe(1);
  expect(value('lintel_gateway_request_seconds_bucket{model="tiny",le="[+]Inf"}')).toBe(1);
  expect(value('lintel_gateway_pick_seconds_count{}') || value('lintel_gateway_pick_seconds_count')).toBe(2);
  expect(text).toMatch(/lintel_gateway_inflight_requests(\{\})? 0/);
});

describe('traces', () => {
  const ended: { name: string; attributes: Record<string, unknown>; parent: SpanContext | undefined }[] = [];
  const spanContext: SpanContext = { traceId: 'a'.repeat(32), spanId: 'b'.repeat(16), traceFlags: 1 };

  beforeAll(() => {
    const startSpan = (_name: string, _options: unknown, parent: Context): Span => {
      const span = { name: '', attributes: {} as Record<string, unknown>, parent: trace.getSpanContext(parent) };
      return {
        spanContext: () => spanContext,
        isRecording: () => true,
        updateName: (name: string) => void (span.name = name),
        setAttribute: (name: string, value: unknown) => void (span.attributes[name] = value),
        setAttributes: (all: Record<string, unknown>) => void Object.assign(span.attributes, all),
        addEvent: () => {},
        setStatus: () => {},
        end: () => void ended.push(span),
      } as unknown as Span;
    };
    trace.setGlobalTracerProvider({ getTracer: () => ({ startSpan }) as unknown as Tracer });
    propagation.setGlobalPropagator({
      inject: () => {},
      fields: () => ['traceparent'],
      extract: (into, carrier: { traceparent?: string }) => {
        const [, traceId, spanId] = (carrier.traceparent ?? '').split('-');
        return traceId === undefined || spanId === undefined
          ? into
          : trace.setSpanContext(into, { traceId, spanId, traceFlags: 1 });
      },
    });
  });

  afterAll(() => {
    trace.disable();
    propagation.disable();
    context.disable();
  });

  test('one span by the GenAI conventions, between the client’s and the engine’s', async () => {
    expect(trace.getSpanContext(ROOT_CONTEXT)).toBeUndefined();
    const seen: Record<string, unknown>[] = [];
    const lintel = await gateway([await openAi(seen)]);
    const traceparent = `00-${'c'.repeat(32)}-${'d'.repeat(16)}-01`;
    await (await post(lintel, chat({ max_tokens: 9 }), { traceparent })).text();
    const record = await lintel.record();
    const own = `00-${spanContext.traceId}-${spanContext.spanId}-01`;
    expect([seen[0]!['traceparent'], record.traceparent]).toEqual([own, own]);
    expect(ended).toHaveLength(1);
    expect(ended[0]).toMatchObject({
      name: 'chat tiny',
      parent: { traceId: 'c'.repeat(32), spanId: 'd'.repeat(16) },
      attributes: {
        'gen_ai.operation.name': 'chat',
        'gen_ai.request.model': 'tiny',
        'gen_ai.request.max_tokens': 9,
        'gen_ai.usage.input_tokens': 12,
        'gen_ai.usage.output_tokens': 2,
        'http.response.status_code': 200,
        'lintel.request.id': record.requestId,
      },
    });
  });
});
