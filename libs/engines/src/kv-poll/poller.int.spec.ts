import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { KvPoller } from '#libs/engines';
import { systemEnvironment } from '#libs/kernel';
import { eventually } from '#libs/testkit';

/** What trtllm-serve does: each event goes to whoever asks first. */
let waiting: object[];
let answer: ((asked: string) => { status: number; body: string } | undefined) | undefined;
const server = createServer((request, response) => {
  const given = answer?.(`${request.method} ${request.url}`);
  const { status, body } = given ?? { status: 200, body: JSON.stringify(waiting.splice(0)) };
  response.writeHead(status, { 'content-type': 'application/json' }).end(body);
});
let poller: KvPoller;
let heard: string[];
let problems: string[];
let nextId: number;
const tell = (): number => waiting.push({ event_id: nextId++, data: { type: 'removed', block_hashes: [1] } });
const hears = (...wanted: string[]): Promise<void> =>
  eventually(() => expect(heard.slice(-wanted.length)).toEqual(wanted));

beforeEach(async () => {
  [waiting, heard, problems, nextId, answer] = [[], [], [], 0, undefined];
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  poller = new KvPoller({
    url: `http://127.0.0.1:${port}/kv_cache_events`,
    blockTokens: 32,
    environment: systemEnvironment,
    tuning: { pollMsMin: 1, pollMsMax: 10, retryMsMin: 5, retryMsMax: 20, answerMsMax: 1_000 },
    onProblem: (problem) => problems.push(problem),
    onEffect: (effect) =>
      heard.push(effect.type === 'batch' ? `${effect.seq}` : `${effect.why}${effect.exact ? '' : '?'}`),
  });
});
afterEach(async () => {
  await poller.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

describe('events that are asked for over HTTP', () => {
  test('each comes once, in order, however long nothing happens between', async () => {
    tell();
    tell();
    await hears('first', '0', '1');
    const { polls } = poller;
    await eventually(() => expect(poller.polls).toBeGreaterThan(polls + 3));
    tell();
    await hears('1', '2');
    expect(problems).toEqual([]);
  });

  test('an engine that fails is asked on, and said once; what it kept comes', async () => {
    tell();
    await hears('0');
    answer = () => ({ status: 503, body: 'not yet' });
    await eventually(() => expect(problems).toEqual([expect.stringContaining('answered 503')]));
    const { polls } = poller;
    await eventually(() => expect(poller.polls).toBeGreaterThan(polls + 3));
    tell();
    answer = undefined;
    await hears('0', '1');
    expect(problems).toHaveLength(1);
  });

  test('what was taken and could not be read shows as a gap', async () => {
    tell();
    await hears('first', '0');
    answer = () => {
      answer = undefined;
      waiting.splice(0);
      return { status: 200, body: '[{"event_id":1' };
    };
    nextId = 2;
    await eventually(() => expect(problems).toHaveLength(1));
    tell();
    await hears('gap?', '2');
  });

  test('what an answer brings that is under way while it is closed is passed on, and nothing is asked after it', async () => {
    const asked: string[] = [];
    let close: Promise<void> | undefined;
    answer = (what) => {
      asked.push(what);
      tell();
      close ??= poller.close();
      return undefined;
    };
    await eventually(() => expect(close).toBeDefined());
    await close;
    expect(heard).toEqual(['first', '0']);
    expect(asked).toEqual(['POST /kv_cache_events']);
  });

  test('an engine that never answers does not hold up the end', async () => {
    const held = createServer(() => {});
    await new Promise<void>((resolve) => held.listen(0, '127.0.0.1', resolve));
    const stuck = new KvPoller({
      url: `http://127.0.0.1:${(held.address() as AddressInfo).port}/kv_cache_events`,
      blockTokens: 32,
      environment: systemEnvironment,
      tuning: { closeMsMax: 50 },
      onEffect: () => {},
    });
    await eventually(() => expect(stuck.polls).toBe(1));
    await stuck.close();
    held.closeAllConnections();
    await new Promise((resolve) => held.close(resolve));
  });
});
