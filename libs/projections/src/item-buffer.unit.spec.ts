import { expect, test } from '@jest/globals';
import { ItemBuffer } from './item-buffer.ts';

test('a batch of heavy items is small, and a full buffer holds the source back by bytes too', async () => {
  const buffer = new ItemBuffer<{ seq: number; storedAtMs: number; bytes: Uint8Array }>(100, 30);
  const item = (seq: number) => ({ seq, storedAtMs: 0, bytes: new Uint8Array(10) });
  expect([1, 2].map((seq) => buffer.push(item(seq)))).toEqual([undefined, undefined]);
  const full = buffer.push(item(3));
  expect(full).toBeInstanceOf(Promise);
  expect(buffer.take(100, 15).map(({ seq }) => seq)).toEqual([1, 2]);
  await full;
  expect(buffer.take(100, 1).map(({ seq }) => seq)).toEqual([3]);
  expect(buffer.size).toBe(0);
});
