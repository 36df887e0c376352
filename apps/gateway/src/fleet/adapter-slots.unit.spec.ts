import { expect, test } from '@jest/globals';
import { AdapterSlots } from './adapter-slots.ts';

const use = (slotsMax: number | undefined, running: string[] = [], waiting: string[] = []) => ({
  slotsMax,
  running,
  waiting,
});

test('what was sent last is there, as many as there are slots', () => {
  const slots = new AdapterSlots();
  for (const adapter of ['a', 'b', 'a', 'c']) slots.sent(adapter, use(2));
  expect(['a', 'b', 'c', 'd'].map((adapter) => slots.resident(adapter, use(2)))).toEqual([1, 0, 1, 0]);
  slots.clear();
  expect(slots.resident('a', use(2))).toBe(0);
});

test('what the engine runs or waits for is there; where it says nothing it is not known', () => {
  const slots = new AdapterSlots();
  expect(slots.resident('a', use(1, ['a']))).toBe(1);
  expect(slots.resident('a', use(1, [], ['a']))).toBe(1);
  slots.sent('a', undefined);
  expect(slots.resident('a', undefined)).toBeNaN();
  expect(slots.resident('a', use(undefined))).toBeNaN();
  expect(slots.resident('a', use(1))).toBe(1);
});
