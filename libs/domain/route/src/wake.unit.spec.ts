import { expect, test } from '@jest/globals';
import { isSubjectId } from '#libs/contracts';
import type { WakeState } from './wake.decider.ts';
import { wake, wakeIdOf } from './wake.decider.ts';

const ask = (state: WakeState, atMs: number): WakeState => {
  const events = wake.decide(state, { type: 'RequestWake', wake: { model: 'm', atMs }, holdMs: 100 });
  return events.reduce((next, event) => wake.evolve(next, event), state);
};

test('a model is asked for once in a while, whoever asks', () => {
  const once = ask(wake.initial, 1_000);
  expect(once).toEqual({ untilMs: 1_100 });
  expect(ask(once, 1_000)).toBe(once);
  expect(ask(once, 1_099)).toBe(once);
  expect(ask(once, 1_100)).toEqual({ untilMs: 1_200 });
});

test('a clock that was ahead does not silence a model', () => {
  const ahead = ask(wake.initial, 1e12);
  expect(ask(ahead, 1_000)).toEqual({ untilMs: 1_100 });
});

test('any name of a model names an aggregate', () => {
  for (const model of ['acme/large:v2', '', 'ü', 'x'.repeat(5_000)]) expect(isSubjectId(wakeIdOf(model))).toBe(true);
});
