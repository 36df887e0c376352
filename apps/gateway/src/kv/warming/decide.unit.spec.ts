import { describe, expect, test } from '@jest/globals';
import type { PrefixThere, WarmingCandidate } from './decide.ts';
import { decideWarming, warmerOf } from './decide.ts';
import type { HotPrefix } from './hot-prefixes.ts';
import { warmingLimits as limits } from './limits.ts';

const hot = (tokens: number, more: Partial<HotPrefix> = {}): HotPrefix => ({
  model: 'm',
  adapter: '',
  cacheSalt: '',
  tenantId: 't',
  tokens: new Uint32Array(tokens),
  asks: 9,
  ...more,
});
const candidate: WarmingCandidate = {
  replicaId: 'r',
  state: 'ready',
  because: 'new',
  waitedMs: 0,
  hasEvents: true,
  heldBlocks: 0,
  blockTokens: 16,
  load: { clientRequests: 0, waiting: 0, kvUse: 0 },
  takesSalt: true,
};
const there =
  (more: Partial<PrefixThere> = {}) =>
  (prefix: HotPrefix): PrefixThere => ({
    prefix,
    heldBlocks: 0,
    blocks: prefix.tokens.length / 16,
    adapterResident: 1,
    ...more,
  });
const decide = (given: Partial<WarmingCandidate>, known = [hot(512)], is = there()) =>
  decideWarming({ ...candidate, ...given }, known, is, limits);

describe('decideWarming', () => {
  test('warms one that is new and empty with what is hot, in that order', () => {
    const known = [hot(512), hot(256)];
    expect(decide({}, known)).toEqual({ kind: 'warm', prefixes: known, left: new Map() });
  });

  test.each<[string, Partial<WarmingCandidate>, HotPrefix[]]>([
    ['nothing-hot', {}, []],
    ['not-ready', { state: 'draining' }, [hot(512)]],
    ['busy:waiting', { load: { clientRequests: 0, waiting: 1, kvUse: 0 } }, [hot(512)]],
    ['busy:requests', { load: { clientRequests: 5, waiting: 0, kvUse: 0 } }, [hot(512)]],
    ['busy:kv-use', { load: { clientRequests: 0, waiting: 0, kvUse: 0.6 } }, [hot(512)]],
    ['holds-more', { heldBlocks: 33 }, [hot(512)]],
    ['held-unknown', { heldBlocks: undefined, hasEvents: false, because: 'came-back' }, [hot(512)]],
    ['held-unknown', { heldBlocks: undefined, waitedMs: limits.indexWaitMsMax, because: 'came-back' }, [hot(512)]],
    ['nothing-missing', { blockTokens: 1_024 }, [hot(512)]],
  ])('leaves it: %s', (why, given, known) => {
    expect(decide(given, known)).toEqual({ kind: 'leave', why });
  });

  test('waits for the index, and not for ever; one without events is new by its registration', () => {
    expect(decide({ heldBlocks: undefined })).toEqual({ kind: 'wait' });
    expect(decide({ heldBlocks: undefined, waitedMs: limits.indexWaitMsMax }).kind).toBe('warm');
    expect(decide({ heldBlocks: undefined, hasEvents: false }).kind).toBe('warm');
  });

  test('leaves out what is held, what would load an adapter, what takes no salt, and what is over the budget', () => {
    const salted = hot(512, { cacheSalt: 's' });
    const lora = hot(512, { adapter: 'l0' });
    const large = Array.from({ length: 17 }, () => hot(16_384));
    const held = hot(256);
    const is = (prefix: HotPrefix): PrefixThere =>
      there({
        ...(prefix === held ? { heldBlocks: 16 } : {}),
        ...(prefix.adapter === '' ? {} : { adapterResident: Number.NaN }),
      })(prefix);
    const decided = decide({ takesSalt: false }, [salted, lora, held, ...large], is);
    expect(decided).toMatchObject({ kind: 'warm', prefixes: large.slice(0, 16) });
    expect(Object.fromEntries(decided.kind === 'warm' ? decided.left : [])).toEqual({
      'takes-no-salt': 1,
      'adapter-not-there': 1,
      held: 1,
      'over-budget': 1,
    });
  });
});

test('each gateway finds the same one that warms a replica, and not always the same for all', () => {
  const ids = ['g1', 'g2', 'g3'];
  const chosen = Array.from({ length: 60 }, (_, at) => warmerOf(ids, `r${at}`));
  expect(Array.from({ length: 60 }, (_, at) => warmerOf(ids.toReversed(), `r${at}`))).toEqual(chosen);
  expect(new Set(chosen)).toEqual(new Set(ids));
});
