import { describe, expect, test } from '@jest/globals';
import { SeededRng } from '#libs/kernel';
import { EngineModel, a100Llama8b, blockHash, rootHash } from './index.ts';
import type { EngineListener, EngineModelOptions, KvEvent, SequenceRequest } from './index.ts';

const options: EngineModelOptions = {
  profile: a100Llama8b,
  maxNumSeqs: 8,
  maxNumBatchedTokens: 256,
  blockSize: 16,
  blocks: 64,
  prefixCaching: true,
  maxLoras: 2,
  speed: 1,
  seed: 1,
};

function request(prompt: number[], outputTokens: number, more: Partial<SequenceRequest> = {}): SequenceRequest {
  return { prompt, outputTokens, finish: 'length', token: (index) => 1000 + index, ...more };
}

function drain(model: EngineModel, stepsMax = 100_000): number {
  for (let steps = 0; steps < stepsMax; steps++) {
    const atMs = model.nextEventMs();
    if (atMs === Infinity) return steps;
    model.advance(atMs);
  }
  throw new Error('does not come to rest');
}

const words = (count: number, from = 1): number[] => Array.from({ length: count }, (_, index) => from + index);

/** One seeded life: arrivals, aborts, adapters, hand-overs, sleep, with the laws checked after every step. */
function life(seed: number): string {
  const rng = new SeededRng(seed);
  const trace: string[] = [];
  const stored = new Set<number>();
  let lastMs = 0;
  const broken: string[] = [];
  const law = (holds: boolean, text: string): void => {
    if (!holds) broken.push(text); // cheaper than an expectation, and this runs for each token
  };
  const causal = (nowMs: number): void => {
    law(nowMs >= lastMs, `time goes back from ${lastMs} to ${nowMs}`);
    lastMs = nowMs;
  };
  const listener: EngineListener = {
    token: (sequence, token, nowMs) => {
      causal(nowMs);
      law(nowMs > sequence.arrivedMs, `a token at ${nowMs} of a request of ${sequence.arrivedMs}`);
      law(sequence.scheduledMs >= sequence.arrivedMs, `scheduled at ${sequence.scheduledMs} before it came`);
      trace.push(`${nowMs} ${sequence.id} ${token}`);
      return rng.chance(0.01);
    },
    finished: (sequence, reason, nowMs) => void trace.push(`${nowMs} ${sequence.id} ${reason}`),
    kvEvents: (events: readonly KvEvent[], nowMs) => {
      causal(nowMs);
      for (const event of events) {
        trace.push(JSON.stringify(event));
        if (event.type === 'AllBlocksCleared') stored.clear();
        if (event.type === 'BlockStored') {
          law(event.tokens.length === event.hashes.length * event.blockSize, 'tokens do not fill their blocks');
          for (const hash of event.hashes) stored.add(hash);
        }
        if (event.type === 'BlockRemoved') {
          for (const hash of event.hashes) {
            law(stored.delete(hash), `a block is removed that was not stored: ${hash}`);
          }
        }
      }
    },
  };
  const model = new EngineModel({ ...options, seed, blocks: 16 + rng.below(64) }, listener);
  model.start(0);
  const held: number[] = [];
  let nowMs = 0;
  for (let round = 0; round < 120; round++) {
    nowMs += rng.below(200);
    model.advance(nowMs);
    model.check();
    const dice = rng.next();
    if (dice < 0.6) {
      const promptLength = 1 + rng.below(120);
      const holdBlocks = rng.chance(0.05);
      const { id } = model.add(
        request(words(promptLength, 1 + rng.below(3)), 1 + rng.below(60), {
          adapter: rng.chance(0.4) ? `l${rng.below(4)}` : undefined,
          cacheSalt: rng.chance(0.1) ? 's' : undefined,
          remoteTokens: rng.chance(0.1) ? promptLength : undefined,
          holdBlocks,
        }),
        nowMs,
      );
      if (holdBlocks) held.push(id);
    } else if (dice < 0.75) model.abort(1 + rng.below(round + 1), nowMs);
    else if (dice < 0.8) model.sleep(rng.chance(0.5) ? 1 : 2, nowMs);
    else if (dice < 0.84) model.pause(nowMs);
    else if (dice < 0.88) model.resetPrefixCache();
    else if (dice < 0.9) model.release(held.pop() ?? 0);
    else model.wake(nowMs);
    model.check();
  }
  model.wake(nowMs);
  drain(model);
  model.check();
  const { running, waiting, added, finished, aborted } = model.counts();
  expect(broken).toEqual([]);
  expect({ running, waiting }).toEqual({ running: 0, waiting: 0 });
  expect(finished + aborted).toBe(added);
  return trace.join('\n');
}

describe('laws of the engine model', () => {
  test('L16 requests and KV blocks are conserved and time goes forward, over 40 seeds', () => {
    for (let seed = 1; seed <= 40; seed++) life(seed);
  });

  test('L12 the same seed gives the same bytes', () => {
    for (const seed of [3, 14, 159]) expect(life(seed)).toBe(life(seed));
  });
});

/** Arrivals at fixed times, driven event by event or by whatever jumps `nextMs` makes. */
function driven(seed: number, nextMs: (model: EngineModel, nowMs: number) => number): string {
  const rng = new SeededRng(seed);
  const arrivals = Array.from({ length: 30 }, (_, index) => ({
    atMs: index * 40 + rng.below(40),
    request: request(words(1 + rng.below(100), 1 + rng.below(3)), 1 + rng.below(30), {
      adapter: rng.chance(0.6) ? `l${rng.below(4)}` : undefined,
      remoteTokens: rng.chance(0.2) ? 1000 : undefined,
    }),
  }));
  const trace: string[] = [];
  const model = new EngineModel(options, {
    token: (sequence, token, nowMs) => void trace.push(`${nowMs} ${sequence.id} ${token}`),
    finished: (sequence, reason, nowMs) => void trace.push(`${nowMs} ${sequence.id} ${reason}`),
  });
  let nowMs = 0;
  while (arrivals.length > 0 || model.nextEventMs() < Infinity) {
    const arrival = arrivals[0];
    nowMs = Math.max(nowMs, Math.min(nextMs(model, nowMs), arrival?.atMs ?? Infinity));
    model.advance(nowMs);
    if (arrival?.atMs === nowMs) model.add(arrivals.shift()!.request, nowMs);
  }
  const { running, waiting, finished } = model.counts();
  expect([running, waiting, finished]).toEqual([0, 0, 30]);
  return trace.join('\n');
}

describe('driving', () => {
  test('late and coarse timers change nothing: what happens, happens at its own time', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const exact = driven(seed, (model) => model.nextEventMs());
      const rng = new SeededRng(seed);
      expect(driven(seed, (_model, nowMs) => nowMs + 1 + rng.below(300))).toBe(exact);
      expect(driven(seed, (model, nowMs) => Math.max(model.nextEventMs(), nowMs) + 3)).toBe(exact);
    }
  });

  test('an adapter that is loaded before the timer comes back is used all the same', () => {
    const model = new EngineModel(options);
    const sequence = model.add(request(words(8), 1, { adapter: 'a' }), 0);
    model.advance(a100Llama8b.adapterLoadMs + 5000);
    expect(sequence.scheduledMs).toBe(a100Llama8b.adapterLoadMs);
    expect(model.counts().finished).toBe(1);
  });

  test('an abort that finds nobody, or a resume, does not lose who waits for an adapter', () => {
    for (const disturb of [
      (model: EngineModel, atMs: number) => void model.abort(99, atMs),
      (model: EngineModel, atMs: number) => {
        model.pause(1);
        model.resume(atMs);
      },
    ]) {
      const model = new EngineModel(options);
      model.add(request(words(8), 1, { adapter: 'a' }), 0);
      model.advance(0);
      disturb(model, a100Llama8b.adapterLoadMs + 1);
      drain(model);
      expect(model.counts()).toMatchObject({ finished: 1, waiting: 0 });
    }
  });
});

describe('batching', () => {
  test('a lone sequence decodes at about 1 / c0', () => {
    const model = new EngineModel(options);
    const sequence = model.add(request(words(10), 100), 0);
    drain(model);
    const msPerToken = (sequence.finishedMs - sequence.firstTokenMs) / 99;
    expect(msPerToken).toBeGreaterThan(a100Llama8b.stepMs);
    expect(msPerToken).toBeLessThan(a100Llama8b.stepMs * 1.05);
  });

  test('a long prompt is split over steps and does not stop those who decode', () => {
    const model = new EngineModel(options);
    let longest = 0;
    let lastMs = 0;
    const talking = new EngineModel(options, {
      token: (sequence, _token, nowMs) => {
        if (sequence.id !== 1) return;
        if (sequence.outputs > 1) longest = Math.max(longest, nowMs - lastMs);
        lastMs = nowMs;
      },
    });
    talking.add(request(words(10), 50), 0);
    talking.advance(100);
    talking.add(request(words(700, 5000), 2), 100);
    drain(talking);
    model.add(request(words(700, 5000), 2), 0);
    expect(drain(model)).toBeGreaterThanOrEqual(4);
    expect(longest).toBeLessThan(a100Llama8b.stepMs + a100Llama8b.prefillTokenMs * options.maxNumBatchedTokens + 1);
  });

  test('too little room preempts the youngest, which is computed again', () => {
    const model = new EngineModel({ ...options, blocks: 8 });
    const first = model.add(request(words(60), 60), 0);
    const second = model.add(request(words(60, 500), 60), 0);
    drain(model);
    expect([first.preemptions, second.preemptions]).toEqual([0, 1]);
    expect(second.outputs).toBe(60);
  });
});

describe('prefix cache', () => {
  test('a second prompt reuses full blocks but always computes one token', () => {
    const model = new EngineModel(options);
    model.add(request(words(64), 1), 0);
    drain(model);
    const again = model.add(request(words(64), 1), 10_000);
    const longer = model.add(request(words(70), 1), 10_000);
    drain(model);
    expect([again.cachedTokens, longer.cachedTokens]).toEqual([48, 64]);
    expect(model.counts()).toMatchObject({ prefixQueries: 198, prefixHits: 112 });
  });

  test('says how much of a chain is cached now, from its start on', () => {
    const model = new EngineModel(options);
    model.add(request(words(48), 1), 0);
    drain(model);
    const chain: number[] = [];
    for (let block = 0; block < 4; block++) {
      chain.push(blockHash(chain.at(-1) ?? rootHash(1, undefined, undefined), words(64), block * 16, (block + 1) * 16));
    }
    expect(model.cachedBlocks(chain)).toBe(3);
    expect(model.cachedBlocks(chain.slice(1))).toBe(2);
    expect(model.cachedBlocks(chain.slice(3))).toBe(0);
    model.resetPrefixCache();
    expect(model.cachedBlocks(chain)).toBe(0);
  });

  test('adapter and salt keep prefixes apart', () => {
    const model = new EngineModel(options);
    model.add(request(words(64), 1), 0);
    drain(model);
    const salted = model.add(request(words(64), 1, { cacheSalt: 'a' }), 10_000);
    const adapted = model.add(request(words(64), 1, { adapter: 'l0' }), 10_000);
    drain(model);
    expect([salted.cachedTokens, adapted.cachedTokens]).toEqual([0, 0]);
  });
});

describe('adapters, sleep, hand-over', () => {
  test('an adapter beyond the slots waits until one is free; others overtake', () => {
    const model = new EngineModel({ ...options, maxLoras: 1 });
    const first = model.add(request(words(8), 20, { adapter: 'a' }), 0);
    const blocked = model.add(request(words(8), 1, { adapter: 'b' }), 0);
    const plain = model.add(request(words(8), 1), 0);
    drain(model);
    expect(first.firstTokenMs).toBeGreaterThan(a100Llama8b.adapterLoadMs);
    expect(plain.finishedMs).toBeLessThan(first.firstTokenMs);
    expect(blocked.scheduledMs).toBeGreaterThanOrEqual(first.finishedMs + a100Llama8b.adapterLoadMs);
  });

  test('requests wait while it sleeps and the cache is gone after', () => {
    const model = new EngineModel(options);
    model.add(request(words(64), 1), 0);
    drain(model);
    model.sleep(1, 1000);
    const sequence = model.add(request(words(64), 1), 1001);
    expect(model.nextEventMs()).toBe(Infinity);
    model.wake(5000);
    drain(model);
    expect(sequence.scheduledMs).toBeCloseTo(5000 + a100Llama8b.wakeMs[0]);
    expect(sequence.cachedTokens).toBe(0);
  });

  test('a prefill engine keeps the blocks until released; the decode engine starts with them', () => {
    const prefill = new EngineModel(options);
    const held = prefill.add(request(words(64), 1, { holdBlocks: true }), 0);
    drain(prefill);
    expect(prefill.counts().kvUsage).toBeGreaterThan(0);
    const decode = new EngineModel(options);
    const sequence = decode.add(request(words(64), 5, { remoteTokens: 64 }), 0);
    drain(decode);
    expect(sequence).toMatchObject({ cachedTokens: 0, externalTokens: 63 });
    expect(prefill.release(held.id)).toBe(true);
    expect(prefill.counts().kvUsage).toBe(0);
  });
});
