import { afterEach, describe, expect, test } from '@jest/globals';
import { route, tenancy } from '#libs/contracts';
import { windowsMs } from '#libs/domain/tenancy';
import { systemEnvironment } from '#libs/kernel';
import { eventually, wideWindow } from '#libs/testkit';
import { quotaBounds } from '../quota/limits.ts';
import { limitOf } from '../quota/quota.fixture.ts';
import { resetText } from '../quota/rate-headers.ts';
import { limited } from './limited.fixture.ts';
import { closeAll, engine, errorOf } from './serve.fixture.ts';

const { LimitMetric } = tenancy;
const { Outcome } = route;
const { minute } = windowsMs;

afterEach(closeAll);

const answering = (usage: object = { prompt_tokens: 10, completion_tokens: 5 }): Promise<string> =>
  engine((_body, response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'X-RateLimit-Limit-Requests': '7' });
    response.end(JSON.stringify({ usage }));
  });

const wide = wideWindow(systemEnvironment.clock.nowMs());
const perDay = (metric: tenancy.LimitMetric, amount: number): tenancy.Limit =>
  limitOf('daily', metric, windowsMs[wide], amount);

describe('limits of requests', () => {
  test('are told by headers as OpenAI sends them, and hold with a 429 that says which, how much and when', async () => {
    const lintel = await limited([perDay(LimitMetric.REQUESTS, 2)], await answering());
    const first = await lintel.ask();
    expect(first.status).toBe(200);
    expect(first.headers.get('x-ratelimit-limit-requests')).toBe('2');
    expect(first.headers.get('x-ratelimit-remaining-requests')).toBe('1');
    expect(first.headers.get('x-ratelimit-reset-requests')).toMatch(/^(\d+h)?\d+m\d+s$|^[\d.]+s$/);
    expect((await lintel.ask()).status).toBe(200);
    const refused = await lintel.ask();
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(refused.headers.get('x-ratelimit-remaining-requests')).toBe('0');
    expect(refused.headers.get('x-error-rpm-exceeded')).toBe('true');
    const error = await errorOf(refused);
    expect(error).toMatchObject({ code: 'quota_exceeded', type: 'rate_limit_error' });
    expect(error.message).toContain(`limit "daily" of tenant acme, 2 requests per ${wide}`);
    expect(lintel.records.at(-1)).toMatchObject({
      outcome: Outcome.REJECTED_QUOTA,
      httpStatus: 429,
      errorCode: 'quota_exceeded',
      attempts: [],
      picks: [],
    });
  });

  test('what no engine served costs nothing', async () => {
    let fails = true;
    const origin = await engine((_body, response) => {
      response.writeHead(fails ? 503 : 200, { 'content-type': 'application/json' }).end('{}');
    });
    const lintel = await limited([perDay(LimitMetric.REQUESTS, 1)], origin);
    for (let asked = 0; asked < 3; asked++) expect((await lintel.ask()).status).toBe(503);
    expect((await lintel.ask({ model: 'nope' })).status).toBe(404);
    fails = false;
    expect((await lintel.ask()).status).toBe(200);
    expect((await lintel.ask()).status).toBe(429);
  });

  test('each end user has the whole of a limit per user', async () => {
    const limit = perDay(LimitMetric.REQUESTS, 1);
    limit.perUser = true;
    const lintel = await limited([limit], await answering());
    for (const user of ['ann', 'bob']) {
      expect((await lintel.ask({}, { user })).status).toBe(200);
      expect((await lintel.ask({}, { user })).status).toBe(429);
    }
    expect((await lintel.ask()).status).toBe(200);
  });
});

describe('limits of tokens', () => {
  test('are charged by what the engine counted', async () => {
    const origin = await answering({ prompt_tokens: 20, completion_tokens: 30 });
    const lintel = await limited([perDay(LimitMetric.TOKENS, 200)], origin);
    for (const left of ['150', '100']) {
      const before = lintel.records.length;
      expect((await lintel.ask({ max_tokens: 60 })).status).toBe(200);
      await eventually(() => expect(lintel.records.length).toBe(before + 1));
      const told = await lintel.ask({ max_tokens: 4_000 });
      expect([told.status, told.headers.get('x-ratelimit-remaining-tokens')]).toEqual([429, left]);
      expect((await errorOf(told)).code).toBe('quota_too_small');
    }
    const over = await lintel.ask({ max_tokens: 120 });
    expect([over.status, over.headers.get('x-error-tpm-exceeded')]).toEqual([429, 'true']);
    expect((await lintel.ask({ max_tokens: 60 })).status).toBe(200);
  });

  test('a stream that tells no usage is charged by counting its tokens', async () => {
    const origin = await engine((_body, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      for (let n = 0; n < 10; n++) response.write('data: {"choices":[{"delta":{"content":"x"}}]}\n\n');
      response.end('data: [DONE]\n\n');
    });
    const lintel = await limited([perDay(LimitMetric.OUTPUT_TOKENS, 100)], origin);
    expect(await (await lintel.ask({ stream: true, max_tokens: 50 })).text()).toContain('[DONE]');
    await lintel.record();
    expect((await lintel.ask({ max_tokens: 200 })).headers.get('x-ratelimit-remaining-tokens')).toBe('90');
  });

  test('one request may ask for so many at most', async () => {
    const lintel = await limited([limitOf('long', LimitMetric.MAX_TOKENS, 0, 100)], await answering());
    expect((await lintel.ask({ max_tokens: 100 })).status).toBe(200);
    const refused = await lintel.ask({ max_tokens: 101 });
    expect([refused.status, await errorOf(refused)]).toMatchObject([400, { code: 'max_tokens_exceeded' }]);
  });
});

test('requests at once: the next may begin when one has ended', async () => {
  const held: (() => void)[] = [];
  const origin = await engine((_body, response) => {
    held.push(() => response.writeHead(200, { 'content-type': 'application/json' }).end('{}'));
  });
  const lintel = await limited([limitOf('concurrent', LimitMetric.CONCURRENT, 0, 2)], origin);
  const running = [lintel.ask(), lintel.ask()];
  await eventually(() => expect(held).toHaveLength(2));
  const refused = await lintel.ask();
  expect([refused.status, (await errorOf(refused)).message]).toEqual([429, expect.stringContaining('at once')]);
  for (const end of held.splice(0)) end();
  await Promise.all(running);
  await eventually(() => expect(lintel.records).toHaveLength(3));
  const next = lintel.ask();
  await eventually(() => expect(held).toHaveLength(1));
  held[0]!();
  expect((await next).status).toBe(200);
});

test('with the log away a gateway spends what it holds; beyond that a request waits its moment and is refused', async () => {
  const lintel = await limited([perDay(LimitMetric.REQUESTS, 512)], await answering());
  expect((await lintel.ask()).status).toBe(200);
  lintel.away = true;
  const statuses: number[] = [];
  let refused: Response | undefined;
  for (let asked = 0; asked < 600 && refused === undefined; asked++) {
    const response = await lintel.ask();
    statuses.push(response.status);
    if (response.status === 429) refused = response;
    else await response.text();
  }
  expect(statuses.length).toBeGreaterThan(2);
  expect(await errorOf(refused!)).toMatchObject({ code: 'quota_unavailable' });
  expect(lintel.records.at(-1)!.timings!.totalMs!).toBeLessThan(quotaBounds.leaseWaitMsMax + 500);
});

test('compat tells AIBrix’s counts of the minute', async () => {
  const limit = limitOf('rpm', LimitMetric.REQUESTS, minute, 50);
  const lintel = await limited([limit], await answering(), { compat: 'aibrix' });
  expect((await lintel.ask()).headers.get('x-update-rpm')).toBe('1');
  const plain = await limited([limit], await answering());
  expect((await plain.ask()).headers.has('x-update-rpm')).toBe(false);
});

test.each([
  [0, '0ms'],
  [849.5, '850ms'],
  [12_340, '12.4s'],
  [360_000, '6m0s'],
  [3_603_000, '1h0m3s'],
])('%d ms is %s', (ms, text) => expect(resetText(ms)).toBe(text));
