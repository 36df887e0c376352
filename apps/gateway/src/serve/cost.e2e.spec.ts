import { afterEach, expect, test } from '@jest/globals';
import { create } from '@bufbuild/protobuf';
import { tenancy } from '#libs/contracts';
import { eventually } from '#libs/testkit';
import { chat, closeAll, engine, gateway, post } from './serve.fixture.ts';

afterEach(closeAll);

const price = create(tenancy.PriceSchema, { model: 'tiny', inputNano: 2000, cachedInputNano: 500, outputNano: 8000 });

test('a record says what its request cost by the price in force, and says nothing where that is not known', async () => {
  let usage: object | undefined = {
    prompt_tokens: 100,
    completion_tokens: 7,
    prompt_tokens_details: { cached_tokens: 40 },
  };
  const origin = await engine((_body, response) => {
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ usage }));
  });
  const lintel = await gateway([origin]);
  const book = { currency: 'USD', prices: [price], source: '', seq: 41, byModel: new Map([['tiny', [price]]]) };
  const costOfNext = async (): Promise<unknown> => {
    const before = lintel.records.length;
    await (await post(lintel, chat())).text();
    await eventually(() => expect(lintel.records.length).toBe(before + 1));
    return lintel.records.at(-1)?.cost;
  };
  expect(await costOfNext()).toBeUndefined();
  lintel.state.tenancy.priceBook = book;
  expect(await costOfNext()).toEqual({ nano: 60 * 2000 + 40 * 500 + 7 * 8000, priceSeq: 41, currency: 'USD' });
  usage = undefined;
  expect(await costOfNext()).toBeUndefined();
  usage = { prompt_tokens: 0, completion_tokens: 0 };
  expect(await costOfNext()).toEqual({ nano: 0, priceSeq: 41, currency: 'USD' });
  lintel.state.tenancy.priceBook = { ...book, byModel: new Map([['other', [price]]]) };
  expect(await costOfNext()).toBeUndefined();
});
