import { expect, test } from '@jest/globals';
import { choiceSentence } from './explain-choice.ts';
import { emptyFleetState } from './fleet-state.ts';
import { modelRouteItems } from './model-route-items.ts';

test('a model route is one line: shares with what leads to them, fallbacks with when', () => {
  const state = emptyFleetState();
  const fields = {
    models: ['gpt-4o'],
    tenants: ['acme'],
    shares: [
      { model: 'main', weight: 95 },
      { replicas: 'version=v2', weight: 5, headerName: 'x-canary', headerValue: 'on' },
    ],
    fallbacks: [{ model: 'spare', saturated: true, gone: true }],
    source: 'apply',
  };
  const entry = { id: 'r', seq: 4, version: 2, commitId: 'c', atMs: 0, actor: 'a', fields };
  (state.modelRoutes as Map<string, unknown>).set('r', entry);
  expect(modelRouteItems(state)).toMatchObject([
    {
      routeId: 'r',
      shares: ['main: 95', 'itself (version=v2): 5 or x-canary: on'],
      fallbacks: ['spare on saturated, gone'],
    },
  ]);
});

test('a name that led nowhere says what was looked at', () => {
  const look = {
    model: 'main',
    replicas: '',
    tier: 'own',
    taken: false,
    cause: 'first',
    known: 2,
    ready: 0,
    full: 0,
    pick: 0,
    atMs: 0,
  };
  const choice = {
    asked: 'x',
    routeId: 'r',
    routeVersion: 1,
    routeSeq: 2,
    share: 'only',
    hashed: 'key',
    looks: [look],
  };
  expect(choiceSentence(choice)).toBe('x led nowhere: main had 0 of 2 ready (model route r v1).');
});
