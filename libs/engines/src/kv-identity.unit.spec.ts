import { describe, expect, test } from '@jest/globals';
import { Packr } from 'msgpackr';
import type { KvEvent } from '#libs/engines';
import { decodeKvMessage, decodeKvPayload } from '#libs/engines';
import { hashTokens, KvIdentity, KvIndex } from '#libs/prefix-index';
import { captured, fixtureText } from './fixtures.fixture.ts';

const model = 'm';

type BlockStored = Extract<KvEvent, { type: 'BlockStored' }>;

/** One list of events for each capture, in the order in which they came live. */
function eventsOf(frames: readonly (readonly Uint8Array[])[]): KvEvent[] {
  return frames.flatMap((one) => {
    const message = decodeKvMessage(one);
    return 'batch' in message ? message.batch.events : [];
  });
}

function recorder(): KvEvent[] {
  const { calls } = JSON.parse(fixtureText('vllm-0.32/kv-events.json')) as {
    calls: { events: { frames: string[] }[] }[];
  };
  return eventsOf(calls.flatMap(({ events }) => events.map(({ frames }) => frames.map((f) => Buffer.from(f, 'hex')))));
}

const live = (name: string): KvEvent[] =>
  eventsOf(
    captured(name)
      .filter(({ kind }) => kind === 'LIVE')
      .map(({ frames }) => frames),
  );

/** A block of the engine, by its hash in hex: the tokens up to its end, and what else its prompt was. */
interface Block {
  readonly tokens: readonly number[];
  readonly seed: { readonly model: string; readonly adapter: string; readonly cacheSalt?: string };
  readonly blockSize: number;
  held: number;
}

const keysOf = (words: Uint32Array): string[] =>
  Array.from({ length: words.length / 2 }, (_, i) => `${words[i * 2 + 1]}:${words[i * 2]}`);

/** What the engine says of a block's prompt, without the index's own reading of it. */
function told(event: BlockStored, at: number, parent: Block | undefined): Block {
  const { blockSize, tokenIds, loraName, extraKeys } = event;
  const salt = extraKeys?.[0]?.find((key) => key !== loraName);
  return {
    tokens: [...(parent?.tokens ?? []), ...tokenIds.subarray(0, (at + 1) * blockSize)],
    seed: parent?.seed ?? {
      model,
      adapter: loraName ?? '',
      ...(salt === undefined ? {} : { cacheSalt: salt as string }),
    },
    blockSize,
    held: 0,
  };
}

describe("the chain that a router predicts of a prompt is what a real vLLM's events store and remove", () => {
  test.each([
    ['kv-events', live('kv-events'), 20],
    ['kv-events-lora', live('kv-events-lora'), 10],
    ['kv-events-bytes', live('kv-events-bytes'), 10],
    ['the recorder', recorder(), 5],
  ] as const)('%s', (_, events, checksMin) => {
    const index = new KvIndex();
    const identity = new KvIdentity(index);
    const holder = index.holder('r');
    const blocks = new Map<string, Block>();
    let checks = 0;
    for (const event of events) {
      identity.apply(holder, model, event);
      if (event.type === 'AllBlocksCleared') for (const block of blocks.values()) block.held = 0;
      else if (event.type === 'BlockRemoved') {
        for (const key of keysOf(event.blockHashes)) (blocks.get(key) as Block).held--;
      } else {
        const parent =
          event.parentBlockHash === null ? undefined : blocks.get(keysOf(event.parentBlockHash)[0] as string);
        for (const [at, key] of keysOf(event.blockHashes).entries()) {
          const known = blocks.get(key) ?? told(event, at, parent);
          known.held++;
          blocks.set(key, known);
        }
      }
      const held = [...blocks.values()].filter((block) => block.held > 0);
      expect(index.holdings).toBe(held.length);
      for (const { tokens, seed, blockSize } of blocks.values()) {
        const chain = hashTokens(seed, tokens, blockSize);
        const isHeld = (depth: number): boolean =>
          held.some(
            (one) =>
              one.tokens.length === depth * blockSize &&
              JSON.stringify(one.seed) === JSON.stringify(seed) &&
              one.tokens.every((token, i) => token === tokens[i]),
          );
        let depth = 0;
        while (depth < chain.length && isHeld(depth + 1)) depth++;
        expect(index.match(chain, ['r'])[0]).toBe(depth);
        checks++;
      }
    }
    expect(identity.counts).toEqual({ orphans: 0, misfits: 0, refused: 0, unknownRemovals: 0 });
    expect(checks).toBeGreaterThan(checksMin);
  });
});

describe("SGLang's events: an array each, one page an event, hashes signed, what is a default left out", () => {
  const packr = new Packr({ useRecords: false });
  const eventsIn = (events: unknown[]): readonly KvEvent[] => {
    const batch = decodeKvPayload(new Uint8Array(packr.pack([1.5, events])));
    if ('problem' in batch) throw new Error(batch.problem);
    expect(batch.dataParallelRank).toBeNull();
    return batch.events;
  };
  const depths = (index: KvIndex, tokens: readonly number[], page: number): [number, number] => {
    const chain = hashTokens({ model }, Uint32Array.from(tokens), page);
    const { device, host } = index.matchMedia(chain, ['a']);
    return [device[0] as number, host[0] as number];
  };

  test.each([1, 2])('pages of %s: stored, written to host memory, removed', (page) => {
    const index = new KvIndex();
    const identity = new KvIdentity(index);
    const holder = index.holder('a');
    const apply = (events: unknown[]): void => {
      for (const event of eventsIn(events)) identity.apply(holder, model, event);
    };
    const tokens = [7, 300, 70_000, 9];
    const hashes = [-1n, 2n ** 63n - 1n, -(2n ** 63n), 5n].slice(0, tokens.length / page);
    const stored = (at: number, ...medium: string[]): unknown[] => [
      'BlockStored',
      [hashes[at]],
      at === 0 ? null : hashes[at - 1],
      tokens.slice(at * page, (at + 1) * page),
      page,
      null,
      ...medium,
    ];
    apply(hashes.map((_, at) => stored(at)));
    expect(depths(index, tokens, page)).toEqual([hashes.length, hashes.length]);
    apply([stored(0, 'CPU'), ['BlockRemoved', [hashes[0]], 'GPU']]);
    expect(depths(index, tokens, page)).toEqual([0, hashes.length]);
    apply([
      ['BlockRemoved', [hashes[1]]],
      ['BlockRemoved', [hashes[0]], 'CPU'],
    ]);
    expect(depths(index, tokens, page)).toEqual([0, 0]);
    expect(holder.holdings.size).toBe(hashes.length - 2);
    apply([['AllBlocksCleared']]);
    expect(holder.holdings.size).toBe(0);
  });
});
