import { expect, test } from '@jest/globals';
import type { FlowProfile } from '#libs/domain/route';
import { FakeReplica } from '../serve/serve.fixture.ts';
import { Rooms } from './room.ts';

const flow = { slots: 8 } as FlowProfile;

test('a tenant beyond its share puts no prompt beside one that is being computed; one below it does, and both where it is not known', () => {
  const tokens: Record<string, number> = {};
  const rooms = new Rooms((id) => tokens[id] ?? 0);
  const [a, b] = ['a', 'b'].map((id) => new FakeReplica(id, 'http://127.0.0.1:1')) as [FakeReplica, FakeReplica];
  const look = (beyondShare: boolean) => [
    rooms.look({ replicas: [a, b], selector: undefined } as never, flow, beyondShare),
    rooms.full.map(({ id }) => id),
  ];
  expect(look(true)).toEqual(['room', []]);
  tokens['a'] = 500;
  expect(look(true)).toEqual(['room', ['a']]);
  tokens['b'] = 1;
  expect(look(true)).toEqual(['full', ['a', 'b']]);
  expect(look(false)).toEqual(['room', []]);
  tokens['a'] = Number.NaN;
  expect(look(true)).toEqual(['room', ['b']]);
});
