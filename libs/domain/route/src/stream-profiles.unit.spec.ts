import { describe, expect, test } from '@jest/globals';
import { parseRoutingConfig } from './routing-config.ts';

describe('hedge and continuation of a profile', () => {
  test('what is not said has its default; without them nothing is hedged or continued', () => {
    expect(parseRoutingConfig({ hedge: {}, continuation: {} })).toMatchObject({
      hedge: { delayMs: 0, quantile: 0.95, budget: 0.05 },
      continuation: { completions: true, chat: false },
      params: {},
    });
    expect(parseRoutingConfig(undefined)).toMatchObject({ hedge: undefined, continuation: undefined });
  });

  test.each([
    [{ hedge: { delay: 1 } }, 'Did you mean delayMs?'],
    [{ hedge: { quantile: 2 } }, 'no number from 0.5'],
    [{ hedge: { budget: '5%' } }, 'no number from 0.001'],
    [{ continuation: { chats: true } }, 'Did you mean chat?'],
    [{ continuation: { chat: 1 } }, 'neither true nor false'],
    [{ hedges: 1 }, 'Did you mean hedge?'],
  ])('%j is refused', (given, words) => {
    let said = '';
    try {
      parseRoutingConfig(given as never);
    } catch (thrown) {
      const { code, message, advice } = thrown as { code: string; message: string; advice?: string };
      said = `${code} ${message} ${advice}`;
    }
    expect(said).toContain('ROUTE_POLICY_INVALID');
    expect(said).toContain(words);
  });
});
