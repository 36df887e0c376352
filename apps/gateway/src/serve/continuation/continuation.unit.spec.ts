import { describe, expect, test } from '@jest/globals';
import { SeededRng } from '#libs/kernel';
import { continuableRequest } from './continuable.ts';
import { Continuation } from './continuation.ts';
import { dataOf } from './event-splitter.ts';

const words = [
  'Once',
  ' upon',
  ' a',
  ' time',
  ' there',
  ' was',
  ' an',
  ' ünüsual',
  ' 漢字',
  ' 🚀',
  '.',
  '\n',
  '\n',
  'The',
  ' end',
  '.',
];
const story = words.join('');

interface Asked {
  prompt?: string;
  messages?: { role: string; content: string }[];
  max_tokens: number;
}

/** An engine that goes on with the story from wherever its prompt is in it; a chat template may strip what it is given. */
function streamOf(asked: Asked, id: string, chat: boolean): string[] {
  const given = chat
    ? asked.messages?.at(-1)?.role === 'assistant'
      ? (asked.messages.at(-1) as { content: string }).content.trimEnd()
      : ''
    : (asked.prompt ?? '').slice('Tell: '.length);
  expect(story.startsWith(given)).toBe(true);
  const said: string[] = [];
  let at = 0;
  let givenTokens = 0;
  for (const word of words) {
    if (at < given.length) givenTokens++;
    if (at >= given.length && said.length < asked.max_tokens) said.push(word);
    at += word.length;
  }
  const head = { id, object: chat ? 'chat.completion.chunk' : 'text_completion', created: 1, model: 'tiny' };
  const one = (text: string, finish: string | null = null, role = {}): unknown => ({
    ...head,
    choices: [
      { index: 0, ...(chat ? { delta: { ...role, content: text } } : { text }), logprobs: null, finish_reason: finish },
    ],
  });
  const promptTokens = 2 + givenTokens;
  const usage = {
    prompt_tokens: promptTokens,
    completion_tokens: said.length,
    total_tokens: promptTokens + said.length,
  };
  return [
    ...(chat ? [one('', null, { role: 'assistant' })] : []),
    ...said.map((word) => one(word)),
    one('', 'length'),
    { ...head, choices: [], usage },
  ]
    .map((event) => `data: ${JSON.stringify(event)}\n\n`)
    .concat('data: [DONE]\n\n');
}

const resumed = (continuation: Continuation, tellUsage = false): ReturnType<Continuation['resume']> | undefined =>
  continuation.open ? continuation.resume(tellUsage) : undefined;

interface Seen {
  readonly text: string;
  readonly ids: Set<string>;
  readonly roles: number;
  readonly dones: number;
  readonly usages: Record<string, number>[];
}

function read(stream: string): Seen {
  const seen = { text: '', ids: new Set<string>(), roles: 0, dones: 0, usages: [] as Record<string, number>[] };
  for (const event of stream.split('\n\n')) {
    const data = dataOf(Buffer.from(event));
    if (data === '') continue;
    if (data === '[DONE]') {
      seen.dones++;
      continue;
    }
    const { id, choices, usage } = JSON.parse(data) as {
      id: string;
      choices: { text?: string; delta?: { role?: string; content?: string } }[];
      usage?: Record<string, number>;
    };
    seen.ids.add(id);
    if (usage !== undefined) seen.usages.push(usage);
    seen.text += choices[0]?.text ?? choices[0]?.delta?.content ?? '';
    if (choices[0]?.delta?.role !== undefined) seen.roles++;
  }
  return seen;
}

describe.each([{ chat: false }, { chat: true }])('a stream goes on where it broke (chat: $chat)', ({ chat }) => {
  const asked = chat
    ? { messages: [{ role: 'user', content: 'Tell' }], max_tokens: 40 }
    : { prompt: 'Tell: ', max_tokens: 40 };

  test('L56 cut at any byte, twice, in chunks of any size: one stream, no text lost or repeated', () => {
    const whole = read(streamOf(asked, 'a', chat).join(''));
    expect(whole.text).toBe(story);
    const rng = new SeededRng(7);
    for (let round = 0; round < 400; round++) {
      const request = continuableRequest(Buffer.from(JSON.stringify(asked)), chat);
      if (request === undefined) throw new Error('not continuable');
      const continuation = new Continuation(request);
      let out = '';
      let body: Asked = asked;
      for (let replica = 0; replica < 3; replica++) {
        const bytes = Buffer.from(streamOf(body, `id-${replica}`, chat).join(''));
        const until = replica === 2 ? bytes.length : rng.below(bytes.length);
        for (let at = 0; at < until;) {
          const next = Math.min(until, at + 1 + rng.below(60));
          out += continuation.feed(bytes.subarray(at, next)).toString('utf8');
          at = next;
        }
        if (continuation.done) break;
        const next = resumed(continuation, true);
        if (next === undefined) {
          out += (continuation.ending() ?? Buffer.from('lost')).toString();
          break;
        }
        body = JSON.parse(next.body.toString()) as Asked;
      }
      const seen = read(out);
      expect(seen.text).toBe(story);
      expect(seen.ids.size).toBe(1);
      expect(seen.dones).toBe(1);
      expect(seen.roles).toBe(whole.roles);
      for (const usage of seen.usages) {
        const total = 2 + words.length;
        expect(usage).toEqual({ prompt_tokens: 2, completion_tokens: words.length, total_tokens: total });
      }
    }
  });

  test('max_tokens holds over all replicas together, also where the last token was the last that came', () => {
    for (let cut = 1; cut < 7; cut++) {
      const short = { ...asked, max_tokens: 6 };
      const request = continuableRequest(Buffer.from(JSON.stringify(short)), chat);
      const continuation = new Continuation(request as NonNullable<typeof request>);
      const events = streamOf(short, 'a', chat).slice(0, cut + (chat ? 1 : 0));
      let out = continuation.feed(Buffer.from(events.join(''))).toString();
      const next = resumed(continuation);
      if (next === undefined) out += continuation.ending()?.toString() ?? '';
      else {
        const body = JSON.parse(next.body.toString()) as Asked;
        expect(body.max_tokens).toBe(6 - cut);
        out += continuation.feed(Buffer.from(streamOf(body, 'b', chat).join(''))).toString();
      }
      const seen = read(out);
      expect(seen.text).toBe(words.slice(0, 6).join(''));
      expect(seen.dones).toBe(1);
    }
  });
});

describe('what is not exact enough is not continued', () => {
  test.each([
    [{ n: 2 }],
    [{ logprobs: 0 }],
    [{ logprobs: true }],
    [{ tools: [{ type: 'function' }] }],
    [{ response_format: { type: 'json_schema' } }],
    [{ structured_outputs: { json: {} } }],
    [{ presence_penalty: 0.5 }],
    [{ echo: true }],
    [{ prompt: [1, 2, 3] }],
    [{ prompt: ['a', 'b'] }],
    [{ stream_options: { continuous_usage_stats: true } }],
  ])('%j', (more) => {
    const body = Buffer.from(JSON.stringify({ prompt: 'Tell: ', max_tokens: 4, ...more }));
    expect(continuableRequest(body, false)).toBeUndefined();
  });

  test('what stands for nothing is nothing', () => {
    const more = {
      n: 1,
      tools: [],
      response_format: { type: 'text' },
      logprobs: null,
      echo: false,
      frequency_penalty: 0,
    };
    expect(continuableRequest(Buffer.from(JSON.stringify({ prompt: 'Tell: ', ...more })), false)).toMatchObject({
      maxTokens: 16,
    });
  });

  test.each([
    ['a call of a tool', { delta: { tool_calls: [{ index: 0 }] } }],
    ['a thought', { delta: { reasoning_content: 'hm' } }],
    ['a second choice', { index: 1, delta: { content: 'x' } }],
  ])('%s passes as it is, and ends what could be continued', (_what, choice) => {
    const request = continuableRequest(Buffer.from('{"messages":[{"role":"user","content":"Tell"}]}'), true);
    const continuation = new Continuation(request as NonNullable<typeof request>);
    const event = `data: ${JSON.stringify({ id: 'a', choices: [{ index: 0, ...choice }] })}\n\ndata: {"open`;
    expect(continuation.feed(Buffer.from(event)).toString()).toBe(event);
    expect(resumed(continuation)).toBeUndefined();
    expect(continuation.ending()).toBeUndefined();
  });

  test("an engine's own failure inside the stream is kept from the client; a mistake of the request is not", () => {
    const request = continuableRequest(Buffer.from('{"prompt":"Tell: "}'), false);
    const make = (): Continuation => new Continuation(request as NonNullable<typeof request>);
    const failure = make();
    expect(failure.feed(Buffer.from('data: {"error":{"code":500}}\n\ndata: [DONE]\n\n'))).toHaveLength(0);
    expect([failure.failed, failure.done]).toEqual([true, false]);
    const mistake = make();
    expect(mistake.feed(Buffer.from('data: {"error":{"code":400}}\n\n')).toString()).toContain('400');
    expect([mistake.failed, resumed(mistake)]).toEqual([false, undefined]);
  });
});
