import { afterEach, expect, test } from '@jest/globals';
import { create } from '@bufbuild/protobuf';
import { route, tenancy } from '#libs/contracts';
import type { LimitInit } from '#libs/domain/tenancy';
import { emptyPriceBook, windowsMs } from '#libs/domain/tenancy';
import { systemEnvironment } from '#libs/kernel';
import { eventually, wideWindow } from '#libs/testkit';
import type { Limited } from './limited.fixture.ts';
import { limited } from './limited.fixture.ts';
import { closeAll, engine, errorOf } from './serve.fixture.ts';

afterEach(closeAll);

const wide = wideWindow(systemEnvironment.clock.nowMs());
const cost = (amount: number, more: LimitInit = {}): tenancy.Limit =>
  create(tenancy.LimitSchema, {
    limitId: 'spend',
    metric: tenancy.LimitMetric.COST,
    windowMs: windowsMs[wide],
    amount,
    ...more,
  });
const price = create(tenancy.PriceSchema, {
  model: 'tiny',
  inputNano: 1_000,
  cachedInputNano: 1_000,
  outputNano: 10_000,
});

const priced = (lintel: Limited): void => {
  const byModel = new Map([['tiny', [price]]]);
  lintel.state.tenancy.priceBook = { ...emptyPriceBook, currency: 'USD', prices: [price], seq: 5, byModel };
};

/** Each request costs 0.000150 units. */
const answering = (): Promise<string> =>
  engine((_body, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ usage: { prompt_tokens: 100, completion_tokens: 5 } }));
  });
const costNano = 150_000;

test('a hard budget is spent to its end by what requests really cost, and refuses with its name, window and end', async () => {
  const lintel = await limited([cost(1_000_000, { alertPercents: [50, 100] })], await answering());
  priced(lintel);
  const statuses: number[] = [];
  for (let asked = 0; asked < 8; asked++) {
    const response = await lintel.ask({ max_tokens: 10 });
    statuses.push(response.status);
    if (response.status === 200) {
      await response.text();
      await eventually(() => expect(lintel.records).toHaveLength(statuses.length));
      continue;
    }
    expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(response.headers.has('x-ratelimit-limit-requests')).toBe(false);
    const error = await errorOf(response);
    expect(error).toMatchObject({ code: 'budget_exceeded', type: 'rate_limit_error' });
    expect(error.message).toMatch(
      new RegExp(
        `budget "spend" of tenant acme, 0.001 of cost per ${wide}.*window ends \\(20..-..-..T00:00:00.000Z\\)`,
      ),
    );
    break;
  }
  // The last one reserves what it may cost at most, and gets back what it did not.
  expect(statuses).toEqual([200, 200, 200, 200, 200, 200, 429]);
  expect(lintel.records.at(-1)).toMatchObject({ outcome: route.Outcome.REJECTED_QUOTA, errorCode: 'budget_exceeded' });
});

test('a soft budget refuses nobody; its alerts are told once, and stand in the log', async () => {
  const lintel = await limited([cost(200_000, { alertPercents: [50, 80, 100, 200], soft: true })], await answering());
  priced(lintel);
  for (let asked = 0; asked < 2; asked++) expect((await lintel.ask()).status).toBe(200);
  await eventually(() => expect([...lintel.quotas.budgets.alerts.keys()]).toEqual([50, 80, 100]), 5_000);
  const subjects: string[] = [];
  let text = '';
  for await (const { subject, payload } of lintel.log.read({ fromSeq: 1 })) {
    subjects.push(subject);
    text += Buffer.from(payload).toString();
  }
  expect(subjects.every((subject) => subject.startsWith('lintel.ev.tenancy.budget.'))).toBe(true);
  expect(text.match(/"BudgetReached"/g)).toHaveLength(3);
  expect([...lintel.quotas.budgets.counts.values()]).toMatchObject([{ total: 2 * costNano }]);
});

test('what has no price is not let past a limit of cost, nor refused by a soft budget', async () => {
  const held = await limited([cost(1_000_000)], await answering());
  const refused = await held.ask();
  expect([refused.status, await errorOf(refused)]).toMatchObject([403, { code: 'model_unpriced' }]);
  const told = await limited([cost(1_000_000, { alertPercents: [50], soft: true })], await answering());
  expect((await told.ask()).status).toBe(200);
});
