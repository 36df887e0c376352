import { Packr } from 'msgpackr';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { KvBatch, KvEvent, KvMessage } from '#libs/engines';
import { decodeKvMessage, decodeKvPayload, engineLimits, hashWords } from '#libs/engines';
import { captured, fixtureText } from './fixtures.fixture.ts';

function batchOf(message: ReturnType<typeof decodeKvMessage>): KvBatch {
  if (!('batch' in message)) throw new Error(JSON.stringify(message));
  return message.batch;
}

interface Stored {
  type: string;
  block_hashes: (number | string | { __bytes_hex__: string })[];
  token_ids: number[];
  extra_keys: unknown;
  lora_name: string | null;
  parent_block_hash: unknown;
}

describe('KV events as vLLM 0.32 sends them', () => {
  test.each(['kv-events', 'kv-events-lora', 'kv-events-bytes'])('%s.hex says what its .json says', (name) => {
    const messages = captured(name);
    const text = JSON.parse(fixtureText(`kv-events/${name}.json`)) as Record<
      'live' | 'replay_dealer_empty_delim',
      { payload?: [number, Stored[], number] }[]
    >;
    const decoded = messages.map(({ frames }) => decodeKvMessage(frames)).filter((message) => 'batch' in message);
    const wanted = [...text.live, ...text.replay_dealer_empty_delim].flatMap(({ payload }) =>
      payload ? [payload] : [],
    );
    expect(decoded.length).toBe(wanted.length);
    expect(messages.length - decoded.length).toBe(messages.filter(({ frames }) => frames.at(-1)?.length === 0).length);
    for (const [index, message] of decoded.entries()) {
      const [ts, events, rank] = wanted[index] as [number, Stored[], number];
      const batch = batchOf(message);
      expect([batch.atSeconds, batch.dataParallelRank]).toEqual([ts, rank]);
      expect(batch.events.map(({ type }) => type)).toEqual(events.map(({ type }) => type));
      for (const [place, event] of batch.events.entries()) {
        if (event.type !== 'BlockStored') continue;
        const { token_ids, extra_keys, lora_name } = events[place] as Stored;
        expect([[...event.tokenIds], event.extraKeys, event.loraName]).toEqual([token_ids, extra_keys, lora_name]);
      }
    }
  });

  test('hashes are exact: integers whole, of bytes the last 64 bits', () => {
    const [first] = captured('kv-events');
    const [stored] = batchOf(decodeKvMessage(first?.frames ?? [])).events;
    expect(stored).toMatchObject({
      blockHashes: hashWords(['d49743e3196e2daa', 'f77e20376976d445', '2704d52cc84320fc']),
      parentBlockHash: null,
      blockSize: 32,
      medium: 'GPU',
      cacheSpecKind: 'full_attention',
    });
    const removed = captured('kv-events-bytes')
      .flatMap(({ frames }) => ('batch' in decodeKvMessage(frames) ? batchOf(decodeKvMessage(frames)).events : []))
      .find(({ type }) => type === 'BlockRemoved');
    const hex = captured('kv-events-bytes')
      .map(({ frames }) => Buffer.from(frames.at(-1) ?? []).toString('hex'))
      .find((payload) => payload.includes(Buffer.from('BlockRemoved').toString('hex')));
    // The last of the 32 bytes behind the head of the first hash (0xc4 0x20).
    const [, hash = ''] =
      /c420([0-9a-f]{64})/.exec(hex?.slice(hex.indexOf(Buffer.from('BlockRemoved').toString('hex'))) ?? '') ?? [];
    expect(hash).toHaveLength(64);
    expect((removed as { blockHashes: Uint32Array }).blockHashes.subarray(0, 2)).toEqual(hashWords([hash]));
  });

  test("the recorder's own capture, with integers of 2^53 and above as digits", () => {
    const { topic, calls, replay } = JSON.parse(fixtureText('vllm-0.32/kv-events.json')) as {
      topic: string;
      calls: { name: string; events: { frames: string[]; decoded: [number, Stored[], number] }[] }[];
      replay: { answers?: { frames: string[] }[] };
    };
    let seen = 0;
    for (const { events } of calls) {
      for (const { frames, decoded } of events) {
        const message = decodeKvMessage(frames.map((hex) => Buffer.from(hex, 'hex'))) as Extract<
          KvMessage,
          { topic: string }
        >;
        expect(message).toMatchObject({ topic, seq: seen++ });
        for (const [place, event] of batchOf(message).events.entries()) {
          if (!('blockHashes' in event)) continue;
          const hashes = decoded[1][place]?.block_hashes.map((hash) =>
            BigInt(hash as string)
              .toString(16)
              .padStart(16, '0'),
          );
          expect(event.blockHashes).toEqual(hashWords(hashes ?? []));
        }
      }
    }
    expect(seen).toBeGreaterThan(8);
    expect(replay).toBeDefined();
  });

  test('replay: the topic stands in it or not, and the end is told', () => {
    const replays = captured('kv-events').filter(({ kind }) => kind === 'REPLAY');
    expect(decodeKvMessage(replays.at(-1)?.frames ?? [])).toEqual({ end: true });
    const [empty = new Uint8Array(), topic = new Uint8Array(), seq = new Uint8Array(), payload = new Uint8Array()] =
      replays[0]?.frames ?? [];
    expect(decodeKvMessage([empty, topic, seq, payload])).toMatchObject({ seq: 0 });
    expect(decodeKvMessage([empty, seq, payload])).toMatchObject({ topic: '', seq: 0 });
  });
});

describe('the form of older engines: an array with its tag first', () => {
  test('says the same', () => {
    const [hex = ''] = fixtureText('kv-events/kv-events-array-form-synthetic.txt').split('\n');
    expect(decodeKvPayload(Buffer.from(hex.trim(), 'hex'))).toEqual({
      atSeconds: 1.5,
      dataParallelRank: 0,
      unknownTypes: [],
      events: [
        {
          type: 'BlockStored',
          blockHashes: Uint32Array.of(1, 0, 0xffffffff, 0xffffffff),
          parentBlockHash: null,
          tokenIds: Uint32Array.of(5, 6, 7, 8),
          blockSize: 2,
          loraId: null,
          loraName: null,
          medium: 'GPU',
          extraKeys: [null, null],
          groupIdx: 0,
          cacheSpecKind: 'full_attention',
          slidingWindow: null,
        },
        { type: 'BlockRemoved', blockHashes: Uint32Array.of(1, 0), medium: 'GPU', groupIdx: 0 },
        { type: 'AllBlocksCleared' },
      ] satisfies KvEvent[],
    });
  });
});

const packr = new Packr({ useRecords: false });
const pack = (value: unknown): Uint8Array => new Uint8Array(packr.pack(value));

describe('what no engine sends', () => {
  test('a type of a newer engine is passed over and named', () => {
    expect(
      decodeKvPayload(pack([1, [{ type: 'BlockMoved', to: 'CPU' }, ['AllBlocksCleared'], ['__proto__']], 0])),
    ).toMatchObject({
      events: [{ type: 'AllBlocksCleared' }],
      unknownTypes: ['BlockMoved', '__proto__'],
    });
  });

  test.each([
    [pack({}), 'not [time'],
    [pack([1]), 'not [time'],
    [pack(['x', []]), 'not [time'],
    [pack([1, [7]]), 'event 0'],
    [pack([1, [{}]]), 'no type'],
    [pack([1, [{ type: 'BlockRemoved', block_hashes: 'x' }]]), 'block_hashes is no list'],
    [pack([1, [{ type: 'BlockRemoved', block_hashes: [1.5] }]]), 'a hash'],
    [pack([1, [{ type: 'BlockStored', block_hashes: [], token_ids: [-1], block_size: 1 }]]), 'token_ids'],
    [pack([1, [{ type: 'BlockStored', block_hashes: [], token_ids: [], block_size: 0 }]]), 'block_size'],
    [Uint8Array.of(0xdd, 0xff, 0xff, 0xff, 0xff), 'items announced'],
    [Uint8Array.of(0xdf, 0x7f, 0xff, 0xff, 0xff), 'items announced'],
    [Uint8Array.of(0xc6, 0x7f, 0xff, 0xff, 0xff), 'ends in the middle'],
    [Uint8Array.of(0xd4, 0x72, 0x40), 'not used by engines'],
    [Uint8Array.of(0xc1), 'not used by engines'],
    [new Uint8Array(20).fill(0x91), 'too deep'],
    [Uint8Array.of(0x90, 0x90), 'too many'],
    [new Uint8Array(), 'ends in the middle'],
    [new Uint8Array(engineLimits.kvMessageBytesMax + 1), 'bytes'],
  ])('%# names what is wrong', (bytes, problem) => {
    expect(decodeKvPayload(bytes)).toEqual({ problem: expect.stringContaining(problem) });
  });

  test('any frames, and any damage to a real message: a batch or a problem, never a throw', () => {
    const real = captured('kv-events-lora').map(({ frames }) => frames);
    const anyFrames = fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 6 });
    const damaged = fc
      .tuple(
        fc.constantFrom(...real),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        fc.nat(),
      )
      .map(([frames, changes, cut]) => {
        const payload = Uint8Array.from(frames.at(-1) ?? []);
        for (const [at, byte] of changes) if (payload.length > 0) payload[at % payload.length] = byte;
        return [...frames.slice(0, -1), cut % 3 === 0 ? payload.subarray(0, cut % (payload.length + 1)) : payload];
      });
    fc.assert(
      fc.property(fc.oneof(anyFrames, damaged), (frames) => {
        const message = decodeKvMessage(frames);
        if ('batch' in message) {
          for (const event of message.batch.events) {
            if (event.type === 'BlockStored') expect(event.tokenIds).toBeInstanceOf(Uint32Array);
          }
        } else expect('problem' in message || message.end).toBeTruthy();
      }),
      { numRuns: 500 },
    );
  });

  test('hashes and tokens of any width, in any order of fields, among others that are not known', () => {
    const hash = fc.oneof(
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
      fc.integer({ min: -(2 ** 31), max: 2 ** 32 - 1 }),
      fc.uint8Array({ minLength: 1, maxLength: 64 }),
    );
    const token = fc.oneof(fc.nat(127), fc.nat(255), fc.nat(65_535), fc.integer({ min: 0, max: 2 ** 32 - 1 }));
    const last64 = (value: bigint | number | Uint8Array): bigint =>
      BigInt.asUintN(
        64,
        value instanceof Uint8Array ? BigInt(`0x${Buffer.from(value).toString('hex')}`) : BigInt(value),
      );
    const event = fc.record({
      hashes: fc.array(hash, { maxLength: 40 }),
      parent: fc.option(hash),
      tokens: fc.array(token, { maxLength: 40 }),
      newer: fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.uint8Array()),
      order: fc.shuffledSubarray([...Array(6).keys()], { minLength: 6 }),
    });
    fc.assert(
      fc.property(event, ({ hashes, parent, tokens, newer, order }) => {
        const fields: [string, unknown][] = [
          ['type', 'BlockStored'],
          ['block_hashes', hashes],
          ['parent_block_hash', parent],
          ['token_ids', tokens],
          ['block_size', 16],
          ['newer_field', newer],
        ];
        const raw = Object.fromEntries(order.map((place) => fields[place] as [string, unknown]));
        const batch = decodeKvPayload(pack([1.5, [raw, { type: 'AllBlocksCleared' }], 3]));
        const [stored, cleared] = 'events' in batch ? batch.events : [];
        const words = (list: typeof hashes): bigint[] => list.map(last64);
        const found = (list: Uint32Array | null): bigint[] =>
          Array.from(
            { length: (list?.length ?? 0) / 2 },
            (_, i) => (BigInt(list?.[i * 2 + 1] ?? 0) << 32n) | BigInt(list?.[i * 2] ?? 0),
          );
        const { blockHashes, parentBlockHash, tokenIds } = stored as Extract<KvEvent, { type: 'BlockStored' }>;
        expect(found(blockHashes)).toEqual(words(hashes));
        expect(found(parentBlockHash)).toEqual(words(parent === null ? [] : [parent]));
        expect([...tokenIds]).toEqual(tokens);
        expect(cleared).toEqual({ type: 'AllBlocksCleared' });
      }),
      { numRuns: 300 },
    );
  });

  test('a token beyond 32 bits is no token', () => {
    const stored = { type: 'BlockStored', block_hashes: [], token_ids: [2 ** 32], block_size: 1 };
    expect(decodeKvPayload(pack([1, [stored]]))).toEqual({ problem: expect.stringContaining('32 bits') });
  });

  test('what a packer writes is walked to its end (any value without extensions)', () => {
    const value = fc.letrec((tie) => ({
      leaf: fc.oneof(
        fc.integer(),
        fc.double({ noNaN: true }),
        fc.string(),
        fc.boolean(),
        fc.constant(null),
        fc.uint8Array(),
      ),
      node: fc.oneof(
        { depthSize: 'small', maxDepth: 4 },
        tie('leaf'),
        fc.array(tie('node'), { maxLength: 20 }),
        fc.dictionary(fc.string(), tie('node'), { maxKeys: 20 }),
      ),
    })).node;
    fc.assert(
      fc.property(value, (any) => {
        const answer = decodeKvPayload(pack([1.5, [], null, any]));
        expect(answer).toMatchObject({ atSeconds: 1.5 });
      }),
    );
  });
});
