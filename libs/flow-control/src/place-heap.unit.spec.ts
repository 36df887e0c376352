import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { PlaceHeap } from './place-heap.ts';

interface Item {
  rank: number;
  readonly places: number[];
}

test('whatever is pushed, moved and taken out of the middle, the least comes first', () => {
  const steps = fc.array(fc.tuple(fc.constantFrom('push', 'pop', 'remove', 'move'), fc.nat(1_000), fc.nat(20)), {
    maxLength: 200,
  });
  fc.assert(
    fc.property(steps, (list) => {
      const heap = new PlaceHeap<Item>(1, (a, b) => a.rank < b.rank);
      const inside: Item[] = [];
      for (const [step, index, rank] of list) {
        const one = inside[index % Math.max(1, inside.length)];
        if (step === 'push') {
          const item = { rank, places: [-1, -1] };
          inside.push(item);
          heap.push(item);
        } else if (step === 'pop') {
          const item = heap.pop();
          if (item !== undefined) inside.splice(inside.indexOf(item), 1);
        } else if (one !== undefined && step === 'remove') {
          heap.remove(one);
          heap.remove(one);
          inside.splice(inside.indexOf(one), 1);
        } else if (one !== undefined) {
          one.rank = rank;
          heap.moved(one);
        }
        expect(heap.size).toBe(inside.length);
        expect(heap.peek()?.rank).toBe(inside.length === 0 ? undefined : Math.min(...inside.map((item) => item.rank)));
        expect(inside.every((item) => heap.has(item) && item.places[0] === -1)).toBe(true);
      }
    }),
  );
});
