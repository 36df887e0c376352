import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { RunningEngineSim } from '../../apps/engine-sim/src/index.ts';
import { startEngineSim } from '../../apps/engine-sim/src/index.ts';
import { KvFollower } from '#libs/engines';
import { systemEnvironment } from '#libs/kernel';
import { hashTokens, KvIdentity, KvIndex } from '#libs/prefix-index';
import { eventually } from '#libs/testkit';

const blockSize = 16;
const model = 'tiny';
/** Small, so that prompts push each other out. */
const blocks = 60;

let sim: RunningEngineSim;
let follower: KvFollower;
let index: KvIndex;

const start = (ports: { port?: number; replayPort?: number } = {}): Promise<RunningEngineSim> =>
  startEngineSim({ models: [model], speed: 200, blocks, blockSize, kvEvents: ports });

async function post<T>(path: string, body: object): Promise<T> {
  const response = await fetch(sim.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  expect(response.status).toBe(200);
  return (await response.json()) as T;
}

/** Blocks that the index expects to be found, and those that the engine then really found. */
async function ask(prompt: string, cacheSalt?: string): Promise<{ expected: number; found: number }> {
  const { tokens } = await post<{ tokens: number[] }>('/tokenize', { model, prompt });
  // As vLLM, the engine computes the last token anew always.
  const usable = Math.floor((tokens.length - 1) / blockSize) * blockSize;
  const seed = { model, ...(cacheSalt === undefined ? {} : { cacheSalt }) };
  const chain = hashTokens(seed, tokens.slice(0, usable), blockSize);
  const expected = index.match(chain, ['r'])[0] as number;
  const { usage } = await post<{ usage: { prompt_tokens_details: { cached_tokens: number } | null } }>(
    '/v1/completions',
    { model, prompt, max_tokens: 4, ...(cacheSalt === undefined ? {} : { cache_salt: cacheSalt }) },
  );
  return { expected, found: (usage.prompt_tokens_details?.cached_tokens ?? 0) / blockSize };
}

/** A question that was asked after the last request is answered: nothing of it is still under way to the index. */
async function settled(): Promise<void> {
  const asked = follower.questions;
  await eventually(() => {
    expect(follower.questions).toBeGreaterThan(asked + 1);
    expect(follower.sequencer.filling).toBe(false);
  });
}

beforeEach(async () => {
  sim = await start();
  index = new KvIndex();
  const identity = new KvIdentity(index);
  const { port, replayPort } = sim.kvEvents as { port: number; replayPort: number };
  follower = await KvFollower.open({
    endpoint: `tcp://127.0.0.1:${port}`,
    replayEndpoint: `tcp://127.0.0.1:${replayPort}`,
    environment: systemEnvironment,
    tuning: { reconnectMsMin: 20, reconnectMsMax: 100, replayMsMax: 500, replayWaitMs: 20, verifyMs: 20 },
    onEffect: (effect) => {
      const holder = index.holder('r');
      if (effect.type === 'reset') {
        index.clear(holder);
        holder.exact = effect.exact;
        return;
      }
      for (const event of effect.batch.events) identity.apply(holder, model, event);
    },
  });
  await eventually(() => expect(index.holder('r').exact).toBe(true));
});
afterEach(async () => {
  await follower.close();
  await sim.stop();
});

const text = (topic: number, words: number): string =>
  `${topic} `.repeat(3) + Array.from({ length: words }, (_, i) => `w${(topic * 7 + i) % 50}`).join(' ');

describe('the index against the engine that it follows', () => {
  test('L52 expects the blocks that the engine then reports as cached: shared prefixes, salts, evictions', async () => {
    let found = 0;
    let missed = 0;
    for (let n = 0; n < 40; n++) {
      const answer = await ask(text(n % 5, 30 + (n % 7) * 8), n % 6 === 5 ? 's1' : undefined);
      expect([n, answer.expected]).toEqual([n, answer.found]);
      if (answer.found > 0) found++;
      else missed++;
      await settled();
    }
    // Both happen, else nothing was shown.
    expect([found > 5, missed > 5]).toEqual([true, true]);
    expect(index.holdings).toBeLessThanOrEqual(blocks);
  });

  test('L52 after the engine was killed and came again nothing of before is expected', async () => {
    await ask(text(1, 60));
    await settled();
    expect(index.size).toBeGreaterThan(0);
    const kvEvents = sim.kvEvents as { port: number; replayPort: number };
    await sim.stop();
    // The kernel gives ports back a moment after their socket is closed.
    await eventually(async () => {
      sim = await start(kvEvents);
    });
    await eventually(() => expect([index.size, index.holder('r').exact]).toEqual([0, true]));
    expect(await ask(text(1, 60))).toEqual({ expected: 0, found: 0 });
    await settled();
    const again = await ask(text(1, 60));
    expect(again.found).toBeGreaterThan(2);
    expect(again.expected).toBe(again.found);
  });
});
