import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { FollowedBatch, SequenceEffect } from '#libs/engines';
import { hashTokens, KvIdentity, KvIndex } from '#libs/prefix-index';
import { DrainedEvents } from './drained.ts';

type Effect = Exclude<SequenceEffect<FollowedBatch>, { type: 'ask' }>;

const blockTokens = 4;
const tokensOf = (ids: readonly number[]): object[] =>
  ids.map((id) => ({ type: 'unique_token', token_id: id, token_extra_id: 0 }));
const block = (hash: number, ids: readonly number[], level = 0): object => ({
  type: 'stored_block',
  block_hash: hash,
  tokens: tokensOf(ids),
  lora_id: null,
  cache_level: level,
  priority: 35,
});
const created = { type: 'created', num_blocks_per_cache_level: [100, 50] };
const stored = (parent: number | null, ...blocks: object[]): object => ({
  type: 'stored',
  parent_hash: parent,
  blocks,
});
const removed = (...hashes: number[]): object => ({ type: 'removed', block_hashes: hashes });
const moved = (hash: number, from: number, to: number): object => ({
  type: 'updated',
  block_hash: hash,
  cache_level: { type: 'event_diff', new_value: to, old_value: from },
});

/** The events as an index takes them, as the fold of LINTEL_KV does. */
class World {
  readonly index = new KvIndex();
  readonly identity = new KvIdentity(this.index);
  readonly holder = this.index.holder('a');
  readonly heard: string[] = [];
  readonly problems: string[] = [];
  readonly drained = new DrainedEvents(
    blockTokens,
    (effect) => this.#apply(effect),
    (problem) => this.problems.push(problem),
  );
  #id = 0;

  tell(...data: object[]): void {
    this.drained.read(
      data.map((one) => ({ event_id: this.#id++, data: one, window_size: 2048 })),
      1.5,
    );
  }

  /** So many events nobody sees. */
  lose(count: number): void {
    this.#id += count;
  }

  restart(): void {
    this.#id = 0;
  }

  /** Tokens of a prompt that are there: on the device, on any medium. */
  depth(prompt: readonly number[]): [number, number] {
    const chain = hashTokens({ model: '' }, Uint32Array.from(prompt), blockTokens);
    const { device, storage } = this.index.matchMedia(chain, ['a']);
    return [(device[0] as number) * blockTokens, (storage[0] as number) * blockTokens];
  }

  #apply(effect: Effect): void {
    if (effect.type === 'reset') {
      this.heard.push(`${effect.why}${effect.exact ? '' : '?'}`);
      this.index.clear(this.holder);
      this.holder.exact = effect.exact;
      return;
    }
    this.heard.push(`${effect.seq}`);
    for (const event of effect.batch.events) this.identity.apply(this.holder, '', event);
  }
}

const big = 2 ** 63;
const prompt = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

describe("TensorRT-LLM's events", () => {
  test("a prompt is found by its tokens, whole blocks only, in the engine's own order", () => {
    const world = new World();
    world.tell(created, stored(null, block(big, [1, 2, 3, 4]), block(big + 4096, [5, 6, 7, 8]), block(3, [9, 10])));
    expect(world.heard).toEqual(['first', '0', '1']);
    expect(world.depth(prompt)).toEqual([8, 8]);
    expect(world.holder.exact).toBe(true);
    world.tell(stored(big + 4096, block(4, [9, 10, 11, 12])));
    expect(world.depth([...prompt, 11, 12])).toEqual([12, 12]);
    world.tell(removed(4), removed(3));
    expect(world.depth([...prompt, 11, 12])).toEqual([8, 8]);
    expect(world.problems).toEqual([]);
  });

  test('a block goes to host memory and back, and is removed from where it is', () => {
    const world = new World();
    world.tell(created, stored(null, block(1, [1, 2, 3, 4]), block(2, [5, 6, 7, 8])));
    world.tell(moved(2, 0, 1));
    expect(world.depth(prompt)).toEqual([4, 8]);
    world.tell(moved(2, 1, 0));
    expect(world.depth(prompt)).toEqual([8, 8]);
    world.tell(moved(1, 0, 1), removed(1, 2));
    expect(world.depth(prompt)).toEqual([0, 0]);
    expect(world.index.holdings).toBe(0);
  });

  test('blocks of one event on two levels', () => {
    const world = new World();
    world.tell(stored(null, block(1, [1, 2, 3, 4]), block(2, [5, 6, 7, 8], 1)));
    expect(world.depth(prompt)).toEqual([4, 8]);
    world.tell(removed(2));
    expect(world.depth(prompt)).toEqual([4, 4]);
  });

  test('a gap makes void what was known, and not all is known from then on', () => {
    const world = new World();
    world.tell(created, stored(null, block(1, [1, 2, 3, 4])));
    world.lose(2);
    world.tell(stored(null, block(5, [1, 2, 3, 4])));
    expect(world.heard).toEqual(['first', '0', '1', 'gap?', '4']);
    expect(world.holder.exact).toBe(false);
    expect(world.depth(prompt)).toEqual([4, 4]);
  });

  test('a lower number is another life, exactly known where it is seen from its start', () => {
    const world = new World();
    world.tell(created, stored(null, block(1, [1, 2, 3, 4])));
    world.restart();
    world.tell(created);
    expect(world.heard.slice(-2)).toEqual(['restart', '0']);
    expect(world.depth(prompt)).toEqual([0, 0]);
    expect(world.holder.exact).toBe(true);
  });

  test('who comes late knows that he does, and who goes on behind another does not', () => {
    const late = new World();
    late.lose(7);
    late.tell(stored(null, block(1, [1, 2, 3, 4])));
    expect(late.heard).toEqual(['first?', '7']);
    const next = new World();
    next.drained.resume(7);
    next.lose(7);
    next.tell(stored(null, block(1, [1, 2, 3, 4])));
    expect(next.heard).toEqual(['7']);
  });

  test('layers with a shorter window are passed over, and other ranks', () => {
    const world = new World();
    const tell = (id: number, data: object, more: object): void =>
      world.drained.read([{ event_id: id, data, ...more }], 1);
    tell(0, created, { window_size: 512 });
    tell(1, created, { window_size: 4096 });
    tell(2, stored(null, block(1, [1, 2, 3, 4])), { window_size: 512 });
    expect(world.depth(prompt)).toEqual([0, 0]);
    tell(3, stored(null, block(1, [1, 2, 3, 4])), { window_size: 4096 });
    tell(0, stored(null, block(9, [7, 7, 7, 7])), { window_size: 4096, attention_dp_rank: 1 });
    expect(world.depth(prompt)).toEqual([4, 4]);
    expect(world.drained.passed).toBe(2);
    expect(world.holder.exact).toBe(true);
  });

  test('an adapter that is only numbered is another cache than the base model, and images are other blocks', () => {
    const world = new World();
    world.tell(stored(null, { ...block(1, [1, 2, 3, 4]), lora_id: 3 }));
    world.tell(stored(null, { ...block(2, [5, 6, 7, 8]), mm_keys: [{ type: 'mm_key', hash: 'ab', start_offset: 0 }] }));
    expect(world.depth(prompt)).toEqual([0, 0]);
    expect(world.depth([5, 6, 7, 8])).toEqual([0, 0]);
    expect(world.index.holdings).toBe(2);
  });

  test('a wrong block size is said, with what to write', () => {
    const world = new World();
    world.tell(stored(null, block(1, [1, 2, 3, 4, 5, 6, 7, 8])));
    expect(world.problems).toEqual(['a block of 8 tokens: write kvEvents: { blockTokens: 8 }']);
    expect(world.holder.exact).toBe(false);
  });

  test('whatever comes, nothing is thrown, and what was not read leaves nothing exact', () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue()), (answer) => {
        const world = new World();
        world.drained.read(answer, 1);
        if (world.problems.length === 0 && answer.length > 0) expect(world.heard.length).toBeGreaterThan(0);
      }),
    );
    const shaped = fc.record({
      event_id: fc.integer({ min: 0, max: 3 }),
      data: fc.record({
        type: fc.constantFrom('stored', 'removed', 'updated', 'created', 'new'),
        parent_hash: fc.jsonValue(),
        blocks: fc.oneof(fc.jsonValue(), fc.array(fc.oneof(fc.jsonValue(), fc.constant(block(1, [1, 2, 3, 4]))))),
        block_hashes: fc.jsonValue(),
        block_hash: fc.jsonValue(),
        cache_level: fc.jsonValue(),
      }),
    });
    fc.assert(
      fc.property(fc.array(shaped), (answer) => {
        const world = new World();
        world.drained.read(answer, 1);
      }),
    );
  });
});
