import { describe, expect, test } from '@jest/globals';
import { replicas, run } from './fleet.fixture.ts';
import type { Knowledge } from './index.ts';
import { agents, learnedFeeds } from './index.ts';

/** Prompt tokens that were believed to be cached, and those that the engine then found, for each request that is over. */
function beliefs(knowledge: Knowledge, requestsPerS: number): { believed: number; found: number }[] {
  const workload = agents.make({ requests: 200, requestsPerS, seed: 9 });
  const seen: { believed: number; found: number }[] = [];
  const feeds = () => {
    const learned = learnedFeeds();
    return {
      ...learned,
      finished: (observed: Parameters<NonNullable<typeof learned.finished>>[0]) => {
        seen.push({ believed: observed.believedTokens, found: observed.cachedTokens });
        learned.finished?.(observed);
      },
    };
  };
  // Caches so small that engines evict all the time.
  run({ workload, replicas: replicas(3, { blocks: 1_500 }), strategy: 'prefix-cache', knowledge, feeds });
  return seen;
}

describe("the engines' own KV events", () => {
  test('one request after the other, the cached tokens expected are those that the engine finds, evictions and all', () => {
    const seen = beliefs('precise', 0.2);
    expect(seen.length).toBeGreaterThan(180);
    expect(seen.filter(({ believed, found }) => believed !== found)).toEqual([]);
    expect(seen.filter(({ found }) => found > 0).length).toBeGreaterThan(80);
    // What was sent there says otherwise: it sees neither what is evicted nor the engine's own blocks.
    expect(beliefs('approximate', 0.2).filter(({ believed, found }) => believed !== found).length).toBeGreaterThan(100);
  });

  test('under load it is as good as ideal knowledge', () => {
    const workload = agents.make({ requests: 400, requestsPerS: 12, seed: 9 });
    const hits = (knowledge: Knowledge) =>
      run({ workload, replicas: replicas(4, { blocks: 3_000 }), strategy: 'prefix-cache', knowledge }).report.hitRate;
    expect(Math.abs(hits('precise') - hits('ideal'))).toBeLessThan(0.03);
  });

  test('several gateways know of each other what they sent, once the engine has it', () => {
    const workload = agents.make({ requests: 400, requestsPerS: 8, seed: 9 });
    const hits = (knowledge: Knowledge) =>
      run({ workload, replicas: replicas(4), strategy: 'prefix-cache', knowledge, gateways: 3 }).report.hitRate;
    expect(hits('precise')).toBeGreaterThan(hits('approximate') + 0.05);
  });
});
