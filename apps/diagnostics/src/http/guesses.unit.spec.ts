import { expect, test } from '@jest/globals';
import { limits } from '../limits.ts';
import { Guesses } from './guesses.ts';

test('an address that guesses too often waits until its minute is over; others do not', () => {
  const guesses = new Guesses();
  for (let n = 0; n < limits.guessesMax; n++) {
    expect(guesses.waitMs('a', 1_000 + n)).toBe(0);
    guesses.wrong('a', 1_000 + n);
  }
  expect(guesses.waitMs('a', 2_000)).toBe(limits.guessWindowMs - 1_000);
  expect(guesses.waitMs('b', 2_000)).toBe(0);
  expect(guesses.waitMs('a', 1_000 + limits.guessWindowMs)).toBe(0);
  guesses.wrong('a', 1_000 + limits.guessWindowMs);
  expect(guesses.waitMs('a', 1_000 + limits.guessWindowMs)).toBe(0);
});

test('addresses are bounded; the oldest is forgotten', () => {
  const guesses = new Guesses();
  for (let n = 0; n < limits.guessesMax; n++) guesses.wrong('first', 1);
  expect(guesses.waitMs('first', 1)).toBeGreaterThan(0);
  for (let n = 0; n < limits.guessersMax; n++) guesses.wrong(`a${n}`, 1);
  expect(guesses.waitMs('first', 1)).toBe(0);
});
