import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Listed } from './active-list.ts';
import { ActiveList } from './active-list.ts';

test('holds what a Set would, whatever is added and removed, also while it is walked', () => {
  const step = fc.record({ add: fc.boolean(), which: fc.nat(7) });
  fc.assert(
    fc.property(fc.array(step), fc.nat(3), (steps, every) => {
      const items: (Listed & { n: number })[] = Array.from({ length: 8 }, (_, n) => ({ n, place: -1 }));
      const list = new ActiveList<(typeof items)[0]>();
      const model = new Set<(typeof items)[0]>();
      for (const { add, which } of steps) {
        const item = items[which]!;
        if (add && item.place < 0) {
          list.add(item);
          model.add(item);
        } else if (!add) {
          list.remove(item);
          model.delete(item);
        }
        expect(list.size).toBe(model.size);
      }
      const seen: number[] = [];
      list.forEach((item) => {
        seen.push(item.n);
        if (item.n % (every + 1) === 0) list.remove(item);
      });
      expect(seen.sort()).toEqual([...model].map(({ n }) => n).sort());
      expect(list.size).toBe([...model].filter(({ n }) => n % (every + 1) !== 0).length);
    }),
  );
});
