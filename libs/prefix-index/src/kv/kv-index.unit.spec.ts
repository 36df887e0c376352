import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { applyHoldings, type CacheEvent, encodeHoldings, hashTokens, KvIdentity, KvIndex } from '../index.ts';
import { blockSize, BruteForce, mediumNames, namesOf, type Prompt, storedEvent } from './brute-force.fixture.ts';
import { chainRoot, chainBlock } from './hash-tokens.ts';

const model = 'tiny';
const hashesOf = ({ adapter, salt, tokens }: Prompt): Float64Array =>
  hashTokens({ model, adapter, ...(salt === '' ? {} : { cacheSalt: salt }) }, tokens, blockSize);

/** As an engine would: seeded by its process, here by `variant`. */
function engineHash(name: string, variant: number): string {
  let hash = chainRoot(name, `engine ${variant}`);
  hash = chainBlock(hash, [variant], 0, 1);
  return hash.toString(16).padStart(16, '0');
}

// Over 64 holders, so that the words beyond the first are used; some with ranks.
const ids = Array.from({ length: 70 }, (_, i) => `r${i}`);
// Few different blocks and replicas, so that steps meet each other.
const prompt: fc.Arbitrary<Prompt> = fc.record({
  adapter: fc.constantFrom('', '', '', '', 'l0'),
  salt: fc.constantFrom('', '', '', '', 's1'),
  tokens: fc.array(fc.constantFrom(0, 0, 0, 0, 0, 0, 0, 1), { minLength: 2, maxLength: 12, size: 'max' }),
});
/** Group 1 of r0 looks back two blocks; the others have one group. */
const windowOf = (group: number): number => (group === 1 ? 2 : 0);
const step = fc.record({
  kind: fc.constantFrom(
    ...'store store store store store remove remove remove route route expire clear forget'.split(' '),
  ),
  prompt,
  replica: fc.constantFrom('r0', 'r0', 'r0', 'r1', 'r1', 'r31', 'r69'),
  rank: fc.constantFrom(0, 0, 0, 1),
  group: fc.constantFrom(0, 1),
  medium: fc.constantFrom(0, 0, 0, 1, 2),
  variant: fc.constantFrom(0, 0, 0, 0, 1),
  from: fc.constantFrom(0, 0, 0, 1, 2),
  pauseMs: fc.constantFrom(0, 10, 60),
});
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

const options = { speculativeMax: 5, speculativeMs: 50 };
const approximateBlocks = 4;

/** Every replica has its slot, so that those asked for lie in several words. */
function filled(): KvIndex {
  const index = new KvIndex(options);
  for (const id of ids) index.holder(id).approximateBlocks = approximateBlocks;
  return index;
}

class Both {
  readonly index = filled();
  readonly identity = new KvIdentity(this.index);
  readonly brute = new BruteForce(options.speculativeMax, options.speculativeMs, approximateBlocks);
  nowMs = 0;

  take({ kind, prompt: given, replica, rank, group: anyGroup, medium, variant, from, pauseMs }: Step): void {
    this.nowMs += pauseMs;
    const names = namesOf(given);
    const group = replica === 'r0' ? anyGroup : 0;
    const apply = (event: CacheEvent, of: readonly string[]): void => {
      const holder = this.index.holder(replica, rank);
      holder.approximateBlocks = approximateBlocks;
      this.identity.apply(holder, model, event);
      this.brute.apply(replica, rank, event, of, medium, windowOf(group));
    };
    const hashes = names.map((name) => engineHash(name, variant));
    if (kind === 'store') {
      const first = Math.min(from, names.length);
      if (first < names.length) {
        apply(storedEvent(given, hashes, first, medium, group, windowOf(group)), names.slice(first));
      }
    } else if (kind === 'remove') {
      const event = {
        type: 'BlockRemoved',
        blockHashes: hashes.slice(-1 - from),
        medium: mediumNames[medium] as string,
        groupIdx: group,
      } as const;
      apply(event, names.slice(-1 - from));
    } else if (kind === 'clear') apply({ type: 'AllBlocksCleared' }, []);
    else if (kind === 'forget') {
      this.index.forgetReplica(replica);
      this.brute.forget(replica);
    } else if (kind === 'route') {
      const ranks = [...this.index.holders()].filter((one) => one.replicaId === replica);
      if (ranks.length === 0) this.index.holder(replica).approximateBlocks = approximateBlocks;
      // Where a rank came first, it is the replica's first.
      if (ranks.length < 2 && (ranks[0]?.rank ?? 0) === 0) {
        this.index.insert(hashesOf(given), replica, this.nowMs);
        this.brute.insert(replica, names, this.nowMs);
      }
    } else {
      this.index.expire(this.nowMs);
      this.brute.expire(this.nowMs);
    }
  }

  check(asked: Prompt): void {
    const names = namesOf(asked);
    const hashes = hashesOf(asked);
    const { device, host, storage } = this.index.matchMedia(hashes, ids);
    const { length } = ids;
    const found = [device, host, storage].map((depths) => [...depths.subarray(0, length)]);
    const truth = [1, 2, 3].map((media) => ids.map((id) => this.brute.depth(id, names, media)));
    expect(found).toEqual(truth);
    expect([...this.index.match(hashes, ids)]).toEqual(truth[2]);
    expect(this.index.size).toBe(this.brute.size());
  }
}

describe('KvIndex', () => {
  test('L50 answers as brute force does, for any sequence of events, routing and time', () => {
    fc.assert(
      fc.property(
        fc.array(step, { minLength: 5, maxLength: 60, size: 'max' }),
        fc.array(prompt, { minLength: 1, maxLength: 4 }),
        (steps, asked) => {
          const both = new Both();
          for (const one of steps) both.take(one);
          for (const one of [...asked, ...steps.slice(-3).map((s) => s.prompt)]) both.check(one);
        },
      ),
      { numRuns: 250 },
    );
  });

  test('L50 a snapshot, taken at any moment, answers the same and goes on the same', () => {
    fc.assert(
      fc.property(
        fc.array(step, { minLength: 5, maxLength: 40, size: 'max' }),
        fc.array(step, { maxLength: 15 }),
        prompt,
        (before, after, asked) => {
          const both = new Both();
          const events = (steps: Step[]): Step[] => steps.filter(({ kind }) => kind !== 'route' && kind !== 'forget');
          for (const one of events(before)) both.take(one);
          const copy = new KvIndex(options);
          const identity = new KvIdentity(copy);
          for (const chunk of encodeHoldings(both.index, both.index.holders(), ({ rank }) => ({ rank }))) {
            const { holder, note } = applyHoldings(copy, chunk);
            expect(note).toEqual({ rank: holder.rank });
          }
          const apply = both.identity.apply.bind(both.identity);
          both.identity.apply = (holder, of, event) => {
            apply(holder, of, event);
            identity.apply(copy.holder(holder.replicaId, holder.rank), of, event);
          };
          for (const one of events(after)) both.take(one);
          both.check(asked);
          for (const one of [asked, ...before.map((s) => s.prompt)]) {
            expect([...copy.match(hashesOf(one), ids)]).toEqual([...both.index.match(hashesOf(one), ids)]);
          }
          expect([copy.size, copy.holdings]).toEqual([both.index.size, both.index.holdings]);
        },
      ),
      { numRuns: 100 },
    );
  });

  test('L51 never holds more than its bounds, and what it refuses it does not claim', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 5, maxLength: 60, size: 'max' }), prompt, (steps, asked) => {
        const both = new Both();
        const small = new KvIndex({ ...options, blocksMax: 8, holdingsMax: 10 });
        const identity = new KvIdentity(small);
        const apply = both.identity.apply.bind(both.identity);
        both.identity.apply = (holder, of, event) => {
          apply(holder, of, event);
          identity.apply(small.holder(holder.replicaId, holder.rank), of, event);
        };
        for (const one of steps) {
          if (one.kind === 'route') continue;
          both.take(one);
          if (one.kind === 'forget') small.forgetReplica(one.replica);
          expect(small.size).toBeLessThanOrEqual(8);
          expect(small.holdings).toBeLessThanOrEqual(10);
        }
        // With a group that was never told it knows no window, and what it lacks is a miss: it may only claim less.
        const full = ids.filter((id) => id !== 'r0');
        const hashes = hashesOf(asked);
        const claims = small.match(hashes, full);
        const truth = both.index.match(hashes, full);
        for (const i of full.keys()) expect(claims[i]).toBeLessThanOrEqual(truth[i] as number);
      }),
      { numRuns: 100 },
    );
  });

  test('L51 after everything is removed nothing is left, whatever came before', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 5, maxLength: 40, size: 'max' }), (steps) => {
        const both = new Both();
        for (const one of steps) both.take(one);
        for (const id of ids) both.index.forgetReplica(id);
        expect([both.index.size, both.index.holdings, [...both.index.holders()].length]).toEqual([0, 0, 0]);
      }),
    );
  });

  test('holds on to many blocks and replicas: rows, words and holdings grow, and are given back', () => {
    const index = new KvIndex();
    const identity = new KvIdentity(index);
    const tokens = Array.from({ length: 6000 }, (_, i) => i);
    const given = { adapter: '', salt: '', tokens };
    const hashes = Array.from({ length: 3000 }, (_, i) => i.toString(16).padStart(16, '0'));
    const many = Array.from({ length: 150 }, (_, i) => `m${i}`);
    for (const [i, id] of many.entries()) {
      identity.apply(index.holder(id), model, storedEvent(given, hashes.slice(0, (i + 1) * 20), 0, 0, 0, 0));
    }
    const asked = hashTokens({ model }, tokens, blockSize);
    expect([...index.match(asked, many)]).toEqual(many.map((_, i) => (i + 1) * 20));
    expect(index.size).toBe(3000);
    // More than is looked ahead at once, in the order of the tail first, some of it twice.
    const tail = hashes.slice(2500).toReversed();
    const removed = { type: 'BlockRemoved', blockHashes: [...tail, ...tail.slice(0, 7)], medium: 'GPU', groupIdx: 0 };
    identity.apply(index.holder('m149'), model, removed as CacheEvent);
    expect([index.match(asked, ['m149', 'm148'])[0], index.size]).toEqual([2500, 2980]);
    expect(identity.counts.unknownRemovals).toBe(7);
    for (const id of many.slice(1)) index.forgetReplica(id);
    expect([index.size, index.holdings]).toEqual([20, 20]);
    expect(index.match(asked, many.slice(0, 2))).toEqual(Float64Array.of(20, 0));
  });

  test('an engine that has not told anything is remembered by what was sent, up to the number of its blocks', () => {
    const index = new KvIndex();
    index.holder('r').approximateBlocks = 4;
    const one = hashTokens({ model }, [1, 2, 3, 4, 5, 6], 2);
    const other = hashTokens({ model }, [7, 8, 9, 10], 2);
    index.insert(one, 'r', 0);
    index.insert(other, 'r', 1e9);
    // The tail of the older prompt went.
    expect([index.match(one, ['r'])[0], index.match(other, ['r'])[0], index.size]).toEqual([2, 2, 4]);
  });

  test('names who holds a block, and why not', () => {
    const index = new KvIndex();
    const identity = new KvIdentity(index);
    const given = { adapter: '', salt: '', tokens: [1, 2] };
    identity.apply(index.holder('a'), model, storedEvent(given, ['0a'], 0, 1, 0, 0));
    index.insert(hashesOf(given), 'b', 0);
    expect(index.where(hashesOf(given)[0] as number)).toEqual([
      { replicaId: 'a', rank: 0, medium: 1, group: 0 },
      { replicaId: 'b', rank: 0, medium: 'routed', group: 0 },
    ]);
    expect(index.where(5)).toEqual([]);
  });
});
