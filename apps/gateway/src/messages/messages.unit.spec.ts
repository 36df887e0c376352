import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { countOf, errorMessageOf, messageOf } from './from-chat.ts';
import type { Json } from './json.ts';
import { MessagesStream } from './messages-stream.ts';
import { chatOf, tokenizeOf } from './to-chat.ts';
import { Untranslatable } from './untranslatable.ts';

const tool = { name: 'weather', description: 'of a city', input_schema: { type: 'object' } };

describe('A message becomes chat completions:', () => {
  test('system, text, images by data and URL, calls, results, tools, choices, stops', () => {
    const chat = chatOf(
      {
        model: 'm',
        max_tokens: 9,
        system: [
          { type: 'text', text: 'Be', cache_control: { type: 'ephemeral' } },
          { type: 'text', text: 'kind' },
        ],
        stop_sequences: ['END'],
        metadata: { user_id: 'ann' },
        tools: [tool],
        tool_choice: { type: 'tool', name: 'weather', disable_parallel_tool_use: true },
        stream: true,
        temperature: 0,
        messages: [
          { role: 'user', content: 'Hi' },
          {
            role: 'user',
            content: [
              { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AAAA' } },
              { type: 'image', source: { type: 'url', url: 'http://10.0.0.1/x.png' } },
              { type: 'text', text: 'What?' },
            ],
          },
          {
            role: 'assistant',
            content: [
              { type: 'thinking', thinking: 'hm', signature: 's' },
              { type: 'text', text: 'Let me look' },
              { type: 'tool_use', id: 't1', name: 'weather', input: { city: 'Bern' } },
            ],
          },
          {
            role: 'user',
            content: [
              { type: 'text', text: 'and?' },
              { type: 'tool_result', tool_use_id: 't1', is_error: true, content: [{ type: 'text', text: 'no net' }] },
            ],
          },
        ],
      },
      true,
    );
    expect(chat).toEqual({
      model: 'm',
      max_tokens: 9,
      temperature: 0,
      stream: true,
      stream_options: { include_usage: true },
      stop: ['END'],
      user: 'ann',
      tools: [
        { type: 'function', function: { name: 'weather', description: 'of a city', parameters: { type: 'object' } } },
      ],
      tool_choice: { type: 'function', function: { name: 'weather' } },
      parallel_tool_calls: false,
      messages: [
        { role: 'system', content: 'Be\nkind' },
        { role: 'user', content: 'Hi' },
        {
          role: 'user',
          content: [
            { type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA' } },
            { type: 'image_url', image_url: { url: 'http://10.0.0.1/x.png' } },
            { type: 'text', text: 'What?' },
          ],
        },
        {
          role: 'assistant',
          content: 'Let me look',
          tool_calls: [{ id: 't1', type: 'function', function: { name: 'weather', arguments: '{"city":"Bern"}' } }],
        },
        { role: 'tool', tool_call_id: 't1', content: 'Error: no net' },
        { role: 'user', content: 'and?' },
      ],
    });
  });

  test('thinking is kept while its turn goes on over tools, and left out of earlier turns', () => {
    const turn = (thinking: string): Json => ({
      role: 'assistant',
      content: [
        { type: 'thinking', thinking, signature: '' },
        { type: 'redacted_thinking', data: 'x' },
        { type: 'tool_use', id: 't', name: 'weather', input: {} },
      ],
    });
    const result = { role: 'user', content: [{ type: 'tool_result', tool_use_id: 't', content: 'sun' }] };
    const messages = [
      { role: 'user', content: 'a' },
      turn('old'),
      result,
      { role: 'user', content: 'b' },
      turn('new'),
      result,
    ];
    const sent = chatOf({ model: 'm', messages }, false)['messages'] as Json[];
    expect(sent.map((message) => message['reasoning_content'])).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
      'new',
      undefined,
    ]);
    expect(sent[1]!['content']).toBeNull();
  });

  test.each([
    [{ tools: [{ type: 'web_search_20250305', name: 'web_search' }] }, 'tools'],
    [{ tool_choice: { type: 'some' } }, 'tool_choice'],
    [{ messages: [{ role: 'user', content: [{ type: 'video' }] }] }, 'messages'],
    [{ messages: 'x' }, 'messages'],
    [{ messages: [{ role: 'robot', content: 'x' }] }, 'messages'],
  ])('what cannot be said is refused: %j', (more, param) => {
    const attempt = (): Json => chatOf({ model: 'm', messages: [], ...more }, false);
    expect(attempt).toThrow(Untranslatable);
    try {
      attempt();
    } catch (thrown) {
      expect((thrown as Untranslatable).param).toBe(param);
    }
  });

  test('of any JSON it throws nothing but that it cannot', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom('messages', 'system', 'tools', 'tool_choice', 'metadata'), fc.jsonValue()),
        (body) => {
          try {
            chatOf(body, true);
            tokenizeOf(body);
          } catch (thrown) {
            expect(thrown).toBeInstanceOf(Untranslatable);
          }
        },
      ),
    );
  });
});

describe('An answer becomes a message:', () => {
  const answer = (message: Json, more: Json = {}): Json => ({
    id: 'c1',
    model: 'm',
    choices: [{ message, finish_reason: 'stop', ...more }],
    usage: { prompt_tokens: 10, completion_tokens: 4, prompt_tokens_details: { cached_tokens: 6 } },
  });

  test('text, thinking where it was asked for, calls, usage without what the cache gave', () => {
    const said = {
      reasoning_content: 'hm',
      content: 'Hi',
      tool_calls: [{ id: 't', function: { name: 'f', arguments: '{"a":1}' } }],
    };
    expect(messageOf(answer(said, { finish_reason: 'tool_calls' }), true)).toEqual({
      id: 'c1',
      type: 'message',
      role: 'assistant',
      model: 'm',
      content: [
        { type: 'thinking', thinking: 'hm', signature: '' },
        { type: 'text', text: 'Hi' },
        { type: 'tool_use', id: 't', name: 'f', input: { a: 1 } },
      ],
      stop_reason: 'tool_use',
      stop_sequence: null,
      usage: { input_tokens: 4, cache_creation_input_tokens: 0, cache_read_input_tokens: 6, output_tokens: 4 },
    });
    expect(messageOf(answer(said), false)!['content']).toHaveLength(2);
  });

  test('a tool that had to be used is a reason to run it, whatever the engine calls the end; no arguments are an empty object', () => {
    const call = { id: 't', function: { name: 'f', arguments: 'null' } };
    const message = messageOf(answer({ content: '', tool_calls: [call] }, { finish_reason: 'stop' }), false)!;
    expect(message['content']).toEqual([{ type: 'tool_use', id: 't', name: 'f', input: {} }]);
    expect(message['stop_reason']).toBe('tool_use');
  });

  test.each([
    ['length', undefined, 'max_tokens', null],
    ['stop', null, 'end_turn', null],
    ['stop', 'END', 'stop_sequence', 'END'],
    ['stop', 2, 'end_turn', null],
    ['content_filter', undefined, 'refusal', null],
  ])('%s, %j is %s', (finish_reason, stop_reason, said, sequence) => {
    const message = messageOf(answer({ content: 'x' }, { finish_reason, stop_reason }), false)!;
    expect([message['stop_reason'], message['stop_sequence']]).toEqual([said, sequence]);
  });

  test('of what is none, nothing', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (json) => void [messageOf(json, true), countOf(json), errorMessageOf(json, 'x')]),
    );
    expect(messageOf({}, false)).toBeUndefined();
    expect(countOf({ tokens: [1, 2] })).toEqual({ input_tokens: 2 });
    expect(countOf({ count: 7, tokens: [1] })).toEqual({ input_tokens: 7 });
    expect(errorMessageOf({ detail: 'Not Found' }, '')).toBe('Not Found');
  });
});

describe('A stream of chunks becomes the events of a message', () => {
  const line = (value: unknown): string => `data: ${JSON.stringify(value)}\n\n`;
  const chunk = (delta: Json, more: Json = {}): string =>
    line({ id: 'c', model: 'm', choices: [{ index: 0, delta, ...more }] });
  const usage = line({
    id: 'c',
    choices: [],
    usage: { prompt_tokens: 9, completion_tokens: 5, prompt_tokens_details: { cached_tokens: 2 } },
  });
  const done = 'data: [DONE]\n\n';
  const text =
    chunk({ role: 'assistant', content: '' }) +
    chunk({ reasoning: 'h' }) +
    chunk({ reasoning: 'm' }) +
    chunk({ content: 'Grüße' }) +
    chunk({ content: ' 🙂' }) +
    chunk({ tool_calls: [{ index: 0, id: 'a', function: { name: 'f', arguments: '' } }] }) +
    chunk({ tool_calls: [{ index: 0, function: { arguments: '{"x":' } }] }) +
    chunk({ tool_calls: [{ index: 0, function: { arguments: '1}' } }] }) +
    chunk({ tool_calls: [{ index: 1, id: 'b', function: { name: 'g', arguments: '{}' } }] }) +
    chunk({}, { finish_reason: 'tool_calls' }) +
    usage +
    done;

  const run = (stream: MessagesStream, bytes: Buffer, sizes: readonly number[]): string => {
    let out = '';
    for (let at = 0, turn = 0; at < bytes.length; turn++) {
      const size = sizes[turn % sizes.length]!;
      out += stream.feed(bytes.subarray(at, at + size)).toString('utf8');
      at += size;
    }
    return out + stream.rest().toString('utf8');
  };
  const fresh = (thinks = true): MessagesStream =>
    new MessagesStream(thinks, (message) => `event: error\ndata: ${message}\n\n`);
  const events = (out: string): Json[] =>
    out
      .split('\n')
      .filter((each) => each.startsWith('data: '))
      .map((each) => JSON.parse(each.slice(6)) as Json);

  test('each block opened and closed once, in order, with usage at the end', () => {
    const told = events(run(fresh(), Buffer.from(text), [7]));
    expect(told.map(({ type, index }) => (index === undefined ? type : `${String(type)} ${String(index)}`))).toEqual([
      'message_start',
      'content_block_start 0',
      'content_block_delta 0',
      'content_block_delta 0',
      'content_block_stop 0',
      'content_block_start 1',
      'content_block_delta 1',
      'content_block_delta 1',
      'content_block_stop 1',
      'content_block_start 2',
      'content_block_delta 2',
      'content_block_delta 2',
      'content_block_stop 2',
      'content_block_start 3',
      'content_block_delta 3',
      'content_block_stop 3',
      'message_delta',
      'message_stop',
    ]);
    expect(told.at(-2)).toMatchObject({
      delta: { stop_reason: 'tool_use', stop_sequence: null },
      usage: { input_tokens: 7, cache_read_input_tokens: 2, output_tokens: 5 },
    });
    expect(events(run(fresh(false), Buffer.from(text), [1000]))[1]).toMatchObject({ content_block: { type: 'text' } });
  });

  test('that used a tool it had to use ends with that reason', () => {
    const call = { tool_calls: [{ index: 0, id: 'a', function: { name: 'f', arguments: '{}' } }] };
    const told = events(run(fresh(), Buffer.from(chunk(call) + chunk({}, { finish_reason: 'stop' }) + done), [99]));
    expect(told.find(({ type }) => type === 'message_delta')).toMatchObject({ delta: { stop_reason: 'tool_use' } });
  });

  test('however its bytes are split', () => {
    const whole = run(fresh(), Buffer.from(text), [1_000_000]);
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 8 }),
        fc.boolean(),
        (sizes, crlf) => {
          const bytes = Buffer.from(crlf ? text.replaceAll('\n', '\r\n') : text);
          expect(run(fresh(), bytes, sizes)).toBe(whole);
        },
      ),
    );
  });

  test('that breaks off has no end; one whose end was said without [DONE] has', () => {
    const cut = fresh();
    expect(run(cut, Buffer.from(chunk({ content: 'a' })), [9])).not.toContain('message_stop');
    expect(cut.ended).toBe(false);
    const whole = fresh();
    expect(run(whole, Buffer.from(chunk({ content: 'a' }, { finish_reason: 'stop' })), [9])).toContain('message_stop');
    expect(whole.ended).toBe(true);
  });

  test('an error inside it is told, once, and ends it', () => {
    const stream = fresh();
    const out = run(
      stream,
      Buffer.from(`${chunk({ content: 'a' })}${line({ error: { message: 'boom' } })}${text}`),
      [50],
    );
    expect(out.match(/boom/g)).toHaveLength(1);
    expect(out).not.toContain('message_stop');
    expect(stream.ended).toBe(true);
  });

  test('of any bytes it never throws', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            fc.uint8Array({ maxLength: 99 }),
            fc.jsonValue().map((json) => Buffer.from(line(json))),
          ),
        ),
        (chunks) => {
          const stream = fresh();
          for (const each of chunks) stream.feed(Buffer.from(each));
          stream.rest();
        },
      ),
    );
  });
});
