import { afterEach, describe, expect, test } from '@jest/globals';
import OpenAI from 'openai';
import { startEngineSim } from '#apps/engine-sim';
import { route } from '#libs/contracts';
import { SeededRng } from '#libs/kernel';
import { afterwards, closeAll, engine, gateway, post, sse, token } from './serve.fixture.ts';
import type { TestGateway } from './serve.fixture.ts';
import { setProfile, story, storyEngine, storyTokens } from './streams.fixture.ts';

const { AttemptEnd, Outcome } = route;
afterEach(closeAll);

const clientOf = ({ url }: TestGateway): OpenAI => new OpenAI({ baseURL: `${url}/v1`, apiKey: 'any', maxRetries: 0 });

describe('a replica dies inside a stream, at any byte', () => {
  test('L56 completions: the official client sees one stream, one id, the whole text once, and usage added up', async () => {
    const rng = new SeededRng(11);
    // The first stream breaks somewhere, the one that goes on may break again, the third is whole.
    let left = 0;
    const dies = (_asked: unknown, total: number): number => (left-- > 0 ? 1 + rng.below(total - 1) : total);
    const engines = await Promise.all(['a', 'b', 'c'].map((name) => storyEngine(name, dies)));
    const lintel = await gateway(engines.map(({ origin }) => origin));
    setProfile(lintel, { continuation: {} });
    const client = clientOf(lintel);
    for (let round = 0; round < 60; round++) {
      left = round % 3;
      let text = '';
      const ids = new Set<string>();
      let usage: OpenAI.CompletionUsage | undefined;
      let failed = '';
      try {
        for await (const chunk of await client.completions.create({
          model: 'tiny',
          prompt: 'Tell: ',
          max_tokens: 200,
          stream: true,
          ...(round % 2 === 0 ? { stream_options: { include_usage: true } } : {}),
        })) {
          ids.add(chunk.id);
          text += chunk.choices[0]?.text ?? '';
          usage = chunk.usage ?? usage;
        }
      } catch (thrown) {
        failed = String(thrown);
      }
      expect(text).toBe(story);
      expect(ids.size).toBe(1);
      const record = lintel.records.at(-1);
      // All of the text had come, but not the usage that the client asked for: nobody else could tell it.
      if (failed !== '') {
        expect(failed).toContain('replica failed');
        expect(record?.outcome).toBe(Outcome.UPSTREAM_BROKEN);
        expect(round % 2).toBe(0);
        continue;
      }
      expect(record?.outcome).toBe(Outcome.COMPLETED);
      if (round % 2 === 0) {
        expect(usage).toEqual({ prompt_tokens: 2, completion_tokens: storyTokens, total_tokens: 2 + storyTokens });
      } else expect(usage).toBeUndefined();
      const continued = record?.attempts.filter(({ continuedTokens }) => continuedTokens !== undefined) ?? [];
      expect(continued.length).toBe((record?.attempts.length ?? 0) - 1);
      for (const { end } of record?.attempts.slice(0, -1) ?? []) expect(end).toBe(AttemptEnd.BROKEN_STREAM);
    }
    expect(await lintel.registry.metrics()).toMatch(/lintel_gateway_continuations_total [1-9]/);
    expect(lintel.fleet.replicas.map(({ inflight }) => inflight)).toEqual([0, 0, 0]);
  });

  test('chat, where the profile says that the template allows it: the next replica is given the text as an open message', async () => {
    const engines = await Promise.all(
      ['a', 'b'].map((name) => storyEngine(name, ({ messages }, total) => (messages?.length === 1 ? 1500 : total))),
    );
    const lintel = await gateway(engines.map(({ origin }) => origin));
    setProfile(lintel, { continuation: { chat: true } });
    const body = { model: 'tiny', messages: [{ role: 'user', content: 'Tell' }], max_tokens: 100, stream: true };
    const text = await (await post(lintel, JSON.stringify(body))).text();
    expect(text).toContain('\n\n: lintel-continued\n\n');
    expect(text.match(/"role"/g)).toHaveLength(1);
    expect(text.match(/\[DONE\]/g)).toHaveLength(1);
    const [, again] = [...engines[0]!.asked, ...engines[1]!.asked].sort(
      (a, b) => (a.messages?.length ?? 0) - (b.messages?.length ?? 0),
    );
    const given = again?.messages?.at(-1)?.content ?? '';
    expect(given.length).toBeGreaterThan(5);
    expect(story.startsWith(given)).toBe(true);
    expect(again).toMatchObject({ continue_final_message: true, add_generation_prompt: false });
    const { continuedTokens } = lintel.records[0]!.attempts[1]!;
    expect(again?.max_tokens).toBe(100 - (continuedTokens as number));
    expect(lintel.records[0]?.usage).toEqual({
      promptTokens: 2,
      completionTokens: storyTokens,
      cachedTokens: 0,
      fromEngine: true,
    });
  });

  test('model engines, killed inside the stream: as many tokens as were asked for, of one answer', async () => {
    const sims = await Promise.all([1, 2].map(() => startEngineSim({ models: ['tiny'], speed: 100 })));
    afterwards(async () => void (await Promise.all(sims.map((sim) => sim.stop()))));
    const lintel = await gateway(sims.map(({ url }) => url));
    setProfile(lintel, { continuation: { chat: true } });
    const client = clientOf(lintel);
    for (const cut of [3, 9, 20]) {
      await fetch(`${sims[cut % 2]!.url}/sim/faults`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ fault: `reset-after=${cut}`, path: '/v1/chat', times: 1 }),
      });
      let events = 0;
      let usage: OpenAI.CompletionUsage | undefined;
      const ask = { model: 'tiny', messages: [{ role: 'user' as const, content: 'Go' }], max_tokens: 30 };
      for (let round = 0; round < 2; round++) {
        events = 0;
        const wanted = { stream: true as const, stream_options: { include_usage: true }, ignore_eos: true };
        for await (const chunk of await client.chat.completions.create({ ...ask, ...wanted })) {
          if (chunk.choices[0]?.delta.content) events++;
          usage = chunk.usage ?? usage;
        }
        expect(events).toBe(30);
        expect(usage?.completion_tokens).toBe(30);
      }
    }
    const continued = lintel.records.filter(({ attempts }) => attempts.length > 1);
    expect(continued.map(({ attempts }) => attempts[1]!.continuedTokens)).toEqual([2, 8, 19]);
  });
});

describe('a stream that cannot be continued ends with its error, as ever', () => {
  test.each([
    ['nobody asked for it', undefined, {}],
    ['chat, where only completions are', { continuation: {} }, {}],
    ['several choices', { continuation: { chat: true } }, { n: 2 }],
    ['tools', { continuation: { chat: true } }, { tools: [{ type: 'function', function: { name: 'f' } }] }],
  ])('%s', async (_why, routingConfig, more) => {
    const origin = await engine((_body, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(sse(token('Hello')), () => response.socket?.destroy());
    });
    const lintel = await gateway([origin, origin]);
    if (routingConfig !== undefined) setProfile(lintel, routingConfig);
    const body = { model: 'tiny', messages: [{ role: 'user', content: 'Hi' }], stream: true, ...more };
    const text = await (await post(lintel, JSON.stringify(body))).text();
    expect(text).toContain('"upstream_broken"');
    expect(lintel.records[0]?.attempts).toHaveLength(1);
  });

  test('nobody is left to go on', async () => {
    const lintel = await gateway([(await storyEngine('a', () => 700)).origin]);
    setProfile(lintel, { continuation: {} });
    const body = { model: 'tiny', prompt: 'Tell: ', max_tokens: 50, stream: true };
    const text = await (await post(lintel, JSON.stringify(body), {}, '/v1/completions')).text();
    expect(text).toContain('"upstream_broken"');
    expect(lintel.records[0]?.outcome).toBe(Outcome.UPSTREAM_BROKEN);
  });

  test('the one that is to go on refuses, and the next one does', async () => {
    const full = await engine(
      (_body, response) => void response.writeHead(400).end('{"error":{"message":"too long"}}'),
    );
    const first = await storyEngine('a', () => 900);
    const last = await storyEngine('c', (_asked, total) => total);
    const lintel = await gateway([first.origin, full, last.origin]);
    setProfile(lintel, { continuation: {} }, 'least-request');
    lintel.fleet.replicas[1]!.inflight = 1;
    lintel.fleet.replicas[2]!.inflight = 2;
    const body = { model: 'tiny', prompt: 'Tell: ', max_tokens: 50, stream: true };
    const text = await (await post(lintel, JSON.stringify(body), {}, '/v1/completions')).text();
    expect(text).toContain('[DONE]');
    expect(lintel.records[0]?.attempts.map(({ end }) => end)).toEqual([
      AttemptEnd.BROKEN_STREAM,
      AttemptEnd.ANSWERED,
      AttemptEnd.ANSWERED,
    ]);
  });
});
