import { describe, expect, test } from '@jest/globals';
import { create, toJsonString } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { route } from '#libs/contracts';
import { commitOf } from './commits.fixture.ts';
import { choiceHash, chooseShare, pickStage, recheckChoice, stagesOf } from './model-choice.ts';
import { modelRoute } from './model-route.decider.ts';
import { emptyRouteState, evolveRoute, modelRouteFor, routeStateFromJson, routeStateToJson } from './state.ts';

const { ShareReason, StageCause } = route;
const given = (more: object = {}): route.ModelRoute =>
  create(route.ModelRouteSchema, { routeId: 'r', models: ['gpt-4o'], by: 'session', ...more });
const set = (wanted: route.ModelRoute, source = 's') => ({ type: 'SetModelRoute', route: wanted, source }) as const;

describe('a model route', () => {
  test('is set once, changed, and removed', () => {
    const first = modelRoute.decide(modelRoute.initial, set(given()));
    expect(first).toMatchObject([{ type: 'ModelRouteSet', data: { source: 's' } }]);
    const state = modelRoute.evolve(modelRoute.initial, first[0] as never);
    expect(modelRoute.decide(state, set(given()))).toEqual([]);
    expect(modelRoute.decide(state, set(given({ tenants: ['acme'] })))).toHaveLength(1);
    const removal = { type: 'RemoveModelRoute', routeId: 'r', reason: 'x' } as const;
    expect(modelRoute.decide(state, removal)).toEqual([
      { type: 'ModelRouteRemoved', data: { routeId: 'r', reason: 'x' } },
    ]);
    expect(modelRoute.decide(modelRoute.initial, removal)).toEqual([]);
  });

  test.each([
    [{ models: [] }, /for no model/],
    [{ models: ['a\nb'] }, /no name of a model/],
    [{ by: 'moon' }, /is by "moon"/],
    [{ shares: [{ model: 'a' }] }, /never reached/],
    [{ shares: [{ model: 'a', headerName: 'x-canary' }] }, /no share has a weight/],
    [{ shares: [{ model: 'a', weight: -1 }] }, /weight -1/],
    [{ shares: [{ model: 'a', weight: 1, headerName: 'X Y' }] }, /is no header/],
    [{ shares: [{ model: 'a', weight: 1, replicas: 'a==(' }] }, /selects no replicas/],
    [{ fallbacks: [{ model: 'a' }] }, /never used/],
    [{ saturated: { kvUse: 2 } }, /kvUse above 1/],
  ])('%j is refused in words', (more, problem) => {
    expect(() => modelRoute.decide(modelRoute.initial, set(given(more)))).toThrow(problem);
  });

  test('governs its names: for its tenants first, then for everybody; a snapshot keeps that', () => {
    const state = emptyRouteState();
    const put = (id: string, more: object): void => {
      const [event] = modelRoute.decide(modelRoute.initial, set(given({ routeId: id, ...more })));
      evolveRoute(state, commitOf('modelroute', id, 1, event as never));
    };
    put('all', {});
    put('own', { tenants: ['acme'] });
    for (const folded of [state, routeStateFromJson(JSON.parse(JSON.stringify(routeStateToJson(state))))]) {
      expect(modelRouteFor(folded, 'gpt-4o', 'acme')?.route.routeId).toBe('own');
      expect(modelRouteFor(folded, 'gpt-4o', 'other')?.route.routeId).toBe('all');
      expect(modelRouteFor(folded, 'gpt-5', 'acme')).toBeUndefined();
    }
    evolveRoute(
      state,
      commitOf('modelroute', 'own', 2, { type: 'ModelRouteRemoved', data: { routeId: 'own', reason: '' } }),
    );
    expect(modelRouteFor(state, 'gpt-4o', 'acme')?.route.routeId).toBe('all');
  });
});

describe('the share of a request', () => {
  const canary = given({
    shares: [
      { model: 'a', weight: 90 },
      { model: 'b', weight: 10, headerName: 'x-canary' },
    ],
  });

  test('follows its hash, the same each time, and the weights over many', () => {
    let b = 0;
    for (let i = 0; i < 10_000; i++) {
      const hash = choiceHash('r', `session-${i}`);
      const { share, reason } = chooseShare(canary, hash);
      expect([share, reason]).toEqual([chooseShare(canary, hash).share, ShareReason.WEIGHT]);
      b += share;
    }
    expect(b / 10_000).toBeGreaterThan(0.085);
    expect(b / 10_000).toBeLessThan(0.115);
  });

  test('growing a share moves nobody back', () => {
    const grown = given({
      shares: [
        { model: 'a', weight: 70 },
        { model: 'b', weight: 30 },
      ],
    });
    for (let i = 0; i < 2_000; i++) {
      const hash = choiceHash('r', `session-${i}`);
      if (chooseShare(canary, hash).share === 1) expect(chooseShare(grown, hash).share).toBe(1);
    }
  });

  test('is that of its header, or where what it goes on from is', () => {
    expect(chooseShare(canary, 1, 1)).toEqual({ share: 1, reason: ShareReason.HEADER });
    expect(chooseShare(canary, 1, 0, true)).toEqual({ share: 0, reason: ShareReason.HELD });
    expect(chooseShare(given({ shares: [{ model: 'a', weight: 1 }] }), 7)).toEqual({
      share: 0,
      reason: ShareReason.ONLY,
    });
    expect(chooseShare(given(), 7)).toEqual({ share: -1, reason: ShareReason.ONLY });
  });
});

describe('stages', () => {
  const full = { known: 2, ready: 2, full: 2 };
  const gone = { known: 2, ready: 0, full: 0 };
  const good = { known: 2, ready: 2, full: 1 };
  const fallbacks = given({
    shares: [{ model: 'main', weight: 1 }],
    fallbacks: [
      { model: 'spill', saturated: true },
      { model: 'last', gone: true },
    ],
  });
  const stages = stagesOf('gpt-4o', fallbacks, 0, (model) =>
    model === 'main' ? { overflow: true, fallback: true } : undefined,
  );
  const pick = (seen: object[], failed = -1, cause = StageCause.FIRST): number =>
    pickStage(stages, failed, cause, (stage) => seen[stage] as typeof full);

  test('are the model, its providers, then the fallbacks', () => {
    expect(stages.map(({ model, tier }) => [model, tier])).toEqual([
      ['main', 1],
      ['main', 2],
      ['main', 3],
      ['spill', 1],
      ['last', 1],
    ]);
  });

  test.each<[string, object[], number]>([
    ['good: itself', [good], 0],
    ['full: its overflow', [full, good], 1],
    ['full, overflow gone: the fallback for saturation, not the one for what is gone', [full, gone, good, good], 3],
    ['full everywhere: it waits at home', [full, full, good, full], 0],
    ['gone: its overflow, too', [gone, good], 1],
    ['gone, overflow gone: its fallback', [gone, gone, good], 2],
    ['gone but for a full one: that', [gone, full, gone, good, gone], 1],
    ['gone everywhere', [gone, gone, gone, good, gone], -1],
  ])('%s', (_name, seen, expected) => expect(pick(seen)).toBe(expected));

  test('after tries that failed those for what is gone; after being turned away those for saturation, too', () => {
    expect(pick([good, gone, gone, good, good], 0, StageCause.FAILED)).toBe(4);
    expect(pick([good, gone, gone, good, good], 0, StageCause.OVERLOADED)).toBe(3);
    expect(pick([good, good, good, good, good], 4, StageCause.FAILED)).toBe(-1);
  });

  test('L54 a recorded choice decided again is the same; another one differs', () => {
    const seen = fc.constantFrom(full, gone, good);
    const causes = fc.array(fc.constantFrom(StageCause.FAILED, StageCause.OVERLOADED), { maxLength: 3 });
    fc.assert(
      fc.property(fc.array(seen, { minLength: 5, maxLength: 5 }), causes, fc.nat(), (world, failures, hash) => {
        const looks: object[] = [];
        let at = -1;
        for (const cause of [StageCause.FIRST, ...failures]) {
          const from = looks.length;
          const next = pickStage(stages, at, cause, (stage, why) => {
            looks.push({ stage, cause: why, ...(world[stage] as object), taken: false });
            return world[stage] as typeof full;
          });
          const taken = looks.slice(from).find((look) => (look as { stage: number }).stage === next);
          if (taken !== undefined) Object.assign(taken, { taken: true });
          if (next < 0) break;
          at = next;
        }
        const { share, reason } = chooseShare(fallbacks, hash);
        const routeJson = toJsonString(route.ModelRouteSchema, fallbacks);
        const recorded = create(route.ModelChoiceSchema, {
          asked: 'gpt-4o',
          routeJson,
          hash,
          share: share + 1,
          shareReason: reason,
          stages,
          looks,
        });
        expect(recheckChoice(recorded)).toBeUndefined();
        const wrong = recorded.looks.find(({ taken }) => taken);
        if (wrong !== undefined) {
          wrong.ready = wrong.ready === 0 ? 1 : 0;
          wrong.full = 0;
          expect(recheckChoice(recorded)).toBeDefined();
        }
        expect(recheckChoice({ ...recorded, share: 2 })).toBeDefined();
      }),
      { numRuns: 500 },
    );
  });
});
