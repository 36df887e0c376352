import { describe, expect, test } from '@jest/globals';
import { FlowWorld } from './world.fixture.ts';
import { flowOutcomes } from './index.ts';

const seeds = 400;

describe('random tenants, bands, bounds and clients before a few slots', () => {
  test('L42 L43 L44 L45 L46 hold after every step, over 400 seeds', () => {
    const reached = new Set<string>();
    for (let seed = 1; seed <= seeds; seed++) {
      const world = new FlowWorld(seed);
      try {
        world.run(300);
      } catch (thrown) {
        throw new Error(`seed ${seed}: ${(thrown as Error).message}`, { cause: thrown });
      }
      for (const outcome of world.outcomes.keys()) reached.add(outcome);
    }
    // The seeds come to every end but the one that only a stopping gateway asks for.
    expect([...reached].sort()).toEqual(flowOutcomes.filter((outcome) => outcome !== 'stopped').sort());
  });
});
