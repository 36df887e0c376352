import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { hashBlocks, prefixLimits } from './hash-blocks.ts';
import { PrefixIndex } from './prefix-index.ts';

describe('hashBlocks', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'b', 'é', '😀'), maxLength: 60 });

  test('prompts share exactly the blocks of their common prefix', () => {
    fc.assert(
      fc.property(text, text, text, (common, one, other) => {
        const a = Buffer.from(common + one);
        const b = Buffer.from(common + other);
        let same = 0;
        while (same < Math.min(a.length, b.length) && a[same] === b[same]) same++;
        const whole = Math.floor(same / 8);
        const [x, y] = [hashBlocks('m', a, 8), hashBlocks('m', b, 8)];
        expect([...x.subarray(0, whole)]).toEqual([...y.subarray(0, whole)]);
        for (let i = whole; i < Math.min(x.length, y.length); i++) expect(x[i]).not.toBe(y[i]);
      }),
    );
  });

  test('are the same for a text, its bytes, and its bytes at any border', () => {
    fc.assert(
      fc.property(text, fc.nat(7), (prompt, shift) => {
        const bytes = Buffer.from(prompt);
        const moved = new Uint8Array(shift + bytes.length);
        moved.set(bytes, shift);
        const expected = [...hashBlocks('m', prompt, 16)];
        expect([...hashBlocks('m', bytes, 16)]).toEqual(expected);
        expect([...hashBlocks('m', moved.subarray(shift), 16)]).toEqual(expected);
      }),
    );
  });

  test('differ by model, adapter and salt', () => {
    const prompt = 'x'.repeat(256);
    const firsts = ['m\0\0', 'n\0\0', 'm\0a\0', 'm\0\0a', ''].map((seed) => hashBlocks(seed, prompt)[0]);
    expect(new Set(firsts).size).toBe(5);
  });

  test('leave out the incomplete last block and stop at the bound', () => {
    expect(hashBlocks('m', 'x'.repeat(prefixLimits.blockBytes - 1))).toHaveLength(0);
    const tooLong = new Uint8Array(prefixLimits.blockBytes * (prefixLimits.blocksPerPromptMax + 3));
    expect(hashBlocks('m', tooLong)).toHaveLength(prefixLimits.blocksPerPromptMax);
  });

  test('of 200,000 blocks that differ in one byte none collide, and all are safe integers', () => {
    const bytes = Buffer.alloc(16);
    const seen = new Set<number>();
    for (let i = 0; i < 200_000; i++) {
      bytes.writeUInt32LE(i, (i & 3) * 4);
      seen.add(hashBlocks('m', bytes, 16)[0] as number);
    }
    expect(seen.size).toBe(200_000);
    expect([...seen].every(Number.isSafeInteger)).toBe(true);
  });
});

/** The index as one would say it: for each replica the set of its blocks, nothing evicted. */
class BruteForce {
  readonly #blocks = new Map<string, Set<number>>();

  insert(blocks: Iterable<number>, id: string): void {
    const set = this.#blocks.get(id) ?? new Set();
    for (const block of blocks) set.add(block);
    this.#blocks.set(id, set);
  }

  forget(id: string): void {
    this.#blocks.delete(id);
  }

  depth(blocks: Float64Array, id: string): number {
    const set = this.#blocks.get(id);
    const missing = blocks.findIndex((block) => !(set?.has(block) ?? false));
    return missing < 0 ? blocks.length : missing;
  }
}

describe('PrefixIndex', () => {
  // Over 64 replicas, so that the words beyond the first are used.
  const ids = Array.from({ length: 70 }, (_, i) => `r${i}`);
  const prompt = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 40 });
  const step = fc.record({
    prompt,
    id: fc.constantFrom(...ids),
    forget: fc.integer({ min: 0, max: 5 }).map((n) => n === 0),
  });

  test('L17 says what brute force says while nothing is evicted', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), prompt, (steps, asked) => {
        const index = new PrefixIndex();
        const truth = new BruteForce();
        for (const { prompt: given, id, forget } of steps) {
          const blocks = hashBlocks('m', given, 4);
          if (forget) {
            index.forgetReplica(id);
            truth.forget(id);
          } else {
            index.insert(blocks, id);
            truth.insert(blocks, id);
          }
        }
        const blocks = hashBlocks('m', asked, 4);
        expect([...index.match(blocks, ids)]).toEqual(ids.map((id) => truth.depth(blocks, id)));
      }),
    );
  });

  test('L17 never holds more than its bound and never claims more than was inserted', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), prompt, (steps, asked) => {
        const index = new PrefixIndex({ blocksMax: 12 });
        const truth = new BruteForce();
        for (const { prompt: given, id } of steps) {
          index.insert(hashBlocks('m', given, 4), id);
          truth.insert(hashBlocks('m', given, 4), id);
          expect(index.size).toBeLessThanOrEqual(12);
        }
        const blocks = hashBlocks('m', asked, 4);
        const depths = index.match(blocks, ids);
        for (const [i, id] of ids.entries()) expect(depths[i]).toBeLessThanOrEqual(truth.depth(blocks, id));
      }),
    );
  });

  test('L17 what it forgets is exactly the least recently used, also where replicas are forgotten in between', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(step, fc.nat(9)), { maxLength: 60 }), (steps) => {
        const index = new PrefixIndex({ blocksMax: 12 });
        // A Map in the order of use.
        const model = new Map<number, Set<string>>();
        for (const [{ prompt: given, id }, dice] of steps) {
          if (dice === 0) {
            index.forgetReplica(id);
            for (const [hash, holders] of model) if (holders.delete(id) && holders.size === 0) model.delete(hash);
          }
          const blocks = hashBlocks('m', given, 4);
          index.insert(blocks, id);
          for (const hash of [...blocks.subarray(0, 12)].toReversed()) {
            const holders = model.get(hash) ?? new Set<string>();
            model.delete(hash);
            model.set(hash, holders.add(id));
          }
          for (const hash of model.keys()) {
            if (model.size <= 12) break;
            model.delete(hash);
          }
          expect(index.size).toBe(model.size);
          for (const [hash, holders] of model) {
            expect([...index.match(Float64Array.of(hash), ids)]).toEqual(ids.map((each) => Number(holders.has(each))));
          }
        }
      }),
    );
  });

  test('when it is full the tail of the least recent prompt goes first', () => {
    const index = new PrefixIndex({ blocksMax: 6 });
    const [old, used, fresh] = ['a', 'b', 'c'].map((letter) => hashBlocks('m', letter.repeat(12), 4)) as [
      Float64Array,
      Float64Array,
      Float64Array,
    ];
    index.insert(old, 'r');
    index.insert(used, 'r');
    index.insert(fresh.subarray(0, 2), 'r');
    expect([old, used, fresh].map((blocks) => index.match(blocks, ['r'])[0])).toEqual([1, 3, 2]);
  });

  test('a replica forgotten leaves its slot clean for the next', () => {
    const index = new PrefixIndex();
    const blocks = hashBlocks('m', 'x'.repeat(64), 4);
    index.insert(blocks, 'gone');
    index.forgetReplica('gone');
    index.insert(blocks.subarray(0, 1), 'new');
    expect([...index.match(blocks, ['gone', 'new'])]).toEqual([0, 1]);
  });
});
