import { describe, expect, test } from '@jest/globals';
import { parseFlowProfile } from './flow-profile.ts';
import { parseRoutingConfig } from './routing-config.ts';

describe('flowControl of a profile', () => {
  test('what is not said has its default; the highest band to ask for is the own one', () => {
    expect(parseFlowProfile({ priority: 2, weights: { acme: 3 } })).toEqual({
      slots: 0,
      waitMsMax: 30_000,
      wakeMsMax: 0,
      deadlineMs: 0,
      priority: 2,
      priorityMax: 2,
      weights: { acme: 3 },
    });
  });

  test.each([
    [{ slot: 1 }, 'Did you mean slots?'],
    [{ slots: 1.5 }, 'no whole number'],
    [{ priority: 9 }, 'from -8 to 8'],
    [{ waitMsMax: '1' }, 'no whole number'],
    [{ weights: { acme: 0 } }, 'the weight of "acme"'],
    [{ weights: [1] }, 'no object'],
  ])('%j is refused', (given, words) => {
    let said = '';
    try {
      parseFlowProfile(given);
    } catch (thrown) {
      const { code, message, advice } = thrown as { code: string; message: string; advice?: string };
      said = `${code} ${message} ${advice}`;
    }
    expect(said).toContain('ROUTE_POLICY_INVALID');
    expect(said).toContain(words);
  });

  test('is no plugin, and without it nothing waits', () => {
    const { flow, params } = parseRoutingConfig({ flowControl: { slots: 4 }, 'load-band': { factor: 2 } });
    expect(flow?.slots).toBe(4);
    expect(Object.keys(params)).toEqual(['load-band']);
    expect(parseRoutingConfig(undefined).flow).toBeUndefined();
  });
});
