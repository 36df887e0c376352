import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Unpackr } from 'msgpackr';
import { Dealer, Subscriber } from 'zeromq';
import { eventually } from '#libs/testkit';
import { type RecordedExchange, type RecordedKvCall, kvCallFacts, replayFacts } from '../../../tools/engines/shape.mjs';
import { type RunningEngineSim, startEngineSim } from './index.ts';

const file = join(import.meta.dirname, '../../../libs/engines/fixtures/vllm-0.32/kv-events.json');
const fixture = JSON.parse(readFileSync(file, 'utf8')) as {
  calls: (RecordedKvCall & Pick<RecordedExchange, 'request'>)[];
  replay: { request: string[]; responses: { frames: string[] }[] };
};

type Batch = [number, Record<string, unknown>[], number];
const unpackr = new Unpackr({ useRecords: false, int64AsType: 'bigint' });
const unpack = (payload: Buffer): Batch => unpackr.unpack(payload) as Batch;
const endOfReplay = 'f'.repeat(16);

/** Everything from a sequence on, as frames; the last is the end. */
async function replayed(port: number, from: number): Promise<Buffer[][]> {
  const dealer = new Dealer();
  dealer.connect(`tcp://127.0.0.1:${port}`);
  const start = Buffer.alloc(8);
  start.writeBigUInt64BE(BigInt(from));
  await dealer.send(['', start]);
  const messages: Buffer[][] = [];
  for await (const frames of dealer) {
    messages.push(frames);
    if (frames[2]!.toString('hex') === endOfReplay) break;
  }
  dealer.close();
  return messages;
}

let sim: RunningEngineSim;
let kvEvents: { port: number; replayPort: number };
/** What each recorded call made engine-sim tell. */
const told = new Map<string, RecordedKvCall>();

async function send({ path, body }: RecordedExchange['request']): Promise<void> {
  const response = await fetch(sim.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  expect(response.status).toBe(200);
  await response.text();
}

beforeAll(async () => {
  sim = await startEngineSim({ models: ['tiny'], speed: 100, blocks: 40, blockSize: 32, kvEvents: {} });
  kvEvents = sim.kvEvents!;
  let next = 0;
  for (const { name, request } of fixture.calls) {
    await send(request);
    const messages = (await replayed(kvEvents.replayPort, next)).slice(0, -1);
    next += messages.length;
    told.set(name, {
      name,
      events: messages.map((frames) => ({
        frames: frames.slice(1).map((frame) => frame.toString('hex')),
        decoded: unpack(frames[3]!),
      })),
    });
  }
});
afterAll(() => sim.stop());

const events = (name: string): Record<string, unknown>[] => told.get(name)!.events.flatMap(({ decoded }) => decoded[1]);

/** Integers above 2^53 are text in the fixture and bigint here: both are hashes. */
const facts = (calls: readonly RecordedKvCall[]): string[] =>
  [...kvCallFacts({ events: calls.flatMap((call) => call.events) })]
    .map((fact) => fact.replace(/: (bigint|string)$/, (all) => (/hash/.test(fact) ? ': hash' : all)))
    .sort();

describe('KV events have the form of vLLM 0.32', () => {
  test('frames, members, types over all calls', () => {
    expect(facts([...told.values()])).toEqual(facts(fixture.calls));
  });

  test.each(['chat-kv-plain', 'chat-kv-same-prefix', 'chat-kv-lora', 'chat-kv-cache-salt', 'chat-kv-lora-and-salt'])(
    '%s',
    (name) => {
      const recorded = fixture.calls.find((call) => call.name === name)!;
      expect(facts([told.get(name)!])).toEqual(facts([recorded]));
      const stored = recorded.events[0]!.decoded[1][0]!;
      const { lora_id: loraId, lora_name: loraName, medium } = stored;
      expect(events(name)[0]).toMatchObject({ lora_id: loraId, lora_name: loraName, medium });
      const [first, second] = events(name)[0]!['extra_keys'] as unknown[];
      const [firstThen, secondThen] = stored['extra_keys'] as unknown[];
      expect(first).toEqual(firstThen);
      if (secondThen !== undefined) expect(second).toEqual(secondThen);
    },
  );

  test('a call without a step tells nothing; a reset is told with the next step', () => {
    expect([events('lora-load-kv-load'), events('kv-reset')]).toEqual([[], []]);
    expect(events('chat-kv-after-reset').map(({ type }) => type)).toEqual(['AllBlocksCleared', 'BlockStored']);
  });

  test('bytes are packed as there: maps and integers of the same width', () => {
    const recorded = fixture.calls[0]!.events[0]!.frames[2]!;
    const payload = told.get('chat-kv-plain')!.events[0]!.frames[2]!;
    const untilHashes = /^93cb[0-9a-f]{16}918ba474797065ab426c6f636b53746f726564ac626c6f636b5f686173686573/;
    expect(recorded).toMatch(untilHashes);
    expect(payload).toMatch(untilHashes);
    expect(payload).toMatch(/(cf[0-9a-f]{16})+b1706172656e745f626c6f636b5f68617368/);
  });
});

describe('KV events make sense', () => {
  test('parents chain, removals name what was stored, tokens fill their blocks, generated blocks are told', () => {
    const known = new Set<unknown>();
    let removed = 0;
    for (const event of [...told.values()].flatMap((call) => call.events.flatMap(({ decoded }) => decoded[1]))) {
      const hashes = event['block_hashes'] as unknown[];
      if (event['type'] === 'AllBlocksCleared') known.clear();
      else if (event['type'] === 'BlockStored') {
        const parent = event['parent_block_hash'];
        expect(parent === null || known.has(parent)).toBe(true);
        expect(event['token_ids']).toHaveLength(hashes.length * 32);
        expect(event['extra_keys']).toHaveLength(hashes.length);
        for (const hash of hashes) known.add(hash);
      } else {
        for (const hash of hashes) expect(known.delete(hash)).toBe(true);
        removed += hashes.length;
      }
    }
    expect(removed).toBeGreaterThan(0);
    expect(events('chat-kv-generated-blocks').length).toBeGreaterThan(1);
  });

  test('the same prefix is not told again: what is new hangs on what is known', () => {
    const [plain] = events('chat-kv-plain');
    const [same] = events('chat-kv-same-prefix');
    expect(plain!['block_hashes']).toContain(same!['parent_block_hash']);
  });
});

describe('the sockets', () => {
  test('replay has the form that was recorded', async () => {
    const responses = (await replayed(kvEvents.replayPort, 0)).map((frames) => ({
      frames: frames.map((frame) => frame.toString('hex')),
    }));
    expect([...replayFacts({ request: fixture.replay.request, responses })].sort()).toEqual(
      [...replayFacts(fixture.replay)].sort(),
    );
  });

  test('a late subscriber fills its gap from the replay socket', async () => {
    const subscriber = new Subscriber();
    subscriber.connect(`tcp://127.0.0.1:${kvEvents.port}`);
    subscriber.subscribe('kv@');
    const live: Buffer[][] = [];
    const listening = (async () => {
      for await (const frames of subscriber) live.push(frames);
    })();
    let asked = 0;
    await eventually(async () => {
      const content = `word${asked++} `.repeat(64);
      await send({
        method: 'POST',
        path: '/v1/chat/completions',
        body: { messages: [{ role: 'user', content }], max_tokens: 1 },
      });
      expect(live.length).toBeGreaterThan(0);
    });
    subscriber.close();
    await listening;
    const [topic, sequence, payload] = live[0]!;
    expect(topic!.toString()).toBe(`kv@127.0.0.1:${sim.port}@tiny`);
    const first = Number(sequence!.readBigUInt64BE());
    expect(first).toBeGreaterThan(0);
    const all = (await replayed(kvEvents.replayPort, 0)).slice(0, -1);
    expect(all.map((frames) => Number(frames[2]!.readBigUInt64BE()))).toEqual(all.map((_, index) => index));
    expect(all[first]![3]).toEqual(payload);
  });

  test('where nothing is new, replay is only the end', async () => {
    expect(await replayed(kvEvents.replayPort, 1_000_000)).toHaveLength(1);
  });
});
