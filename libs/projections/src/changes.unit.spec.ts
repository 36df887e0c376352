import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Row, Table } from '#libs/projections';
import { applyChanges, Changes, normalize } from '#libs/projections';

const table: Table = { name: 't', columns: { id: 'text', a: 'int', b: 'text' }, key: ['id'] };

type Step = { op: 'put' | 'patch' | 'delete'; id: string; a?: number; b?: string };
const step = fc.record(
  {
    op: fc.constantFrom('put' as const, 'patch' as const, 'delete' as const),
    id: fc.constantFrom('x', 'y', 'z'),
    a: fc.integer(),
    b: fc.string(),
  },
  { requiredKeys: ['op', 'id'] },
);

function collect(steps: readonly Step[], changes = new Changes()): Changes {
  for (const { op, ...row } of steps) changes[op](table, row as Row);
  return changes;
}

describe('Changes', () => {
  test('a merged batch does what its steps do one by one, however they are cut into batches', () => {
    fc.assert(
      fc.property(fc.array(step), fc.nat(), (steps, cut) => {
        const single = new Map<string, Row>();
        for (const one of steps) applyChanges(single, collect([one]).tables.get(table) ?? new Map());
        const batched = new Map<string, Row>();
        const at = steps.length === 0 ? 0 : cut % steps.length;
        for (const part of [steps.slice(0, at), steps.slice(at)]) {
          applyChanges(batched, collect(part).tables.get(table) ?? new Map());
        }
        expect([...batched.entries()].sort()).toEqual([...single.entries()].sort());
      }),
    );
  });

  test('rows of a table that only grows stand in columns, as the table keeps them', () => {
    const grows: Table = { ...table, name: 'g', appendOnly: true };
    const changes = new Changes();
    changes.put(grows, { id: 'x\0', a: 1.5 });
    changes.put(grows, { id: 'y', a: Number.NaN, b: 'z' });
    const appended = changes.appended.get(grows);
    expect([...(appended?.columns ?? [])]).toEqual([
      ['id', ['x\uFFFD', 'y']],
      ['a', [1, null]],
      ['b', [null, 'z']],
    ]);
    expect([...(appended?.rows() ?? [])]).toEqual([
      { id: 'x\uFFFD', a: 1, b: null },
      { id: 'y', a: null, b: 'z' },
    ]);
    expect([changes.rows, changes.tables.size]).toEqual([2, 0]);
  });

  test('counts add up', () => {
    const changes = new Changes();
    changes.count('forked');
    changes.count('forked', 2);
    expect([...changes.counts]).toEqual([['forked', 3]]);
  });
});

describe('normalize', () => {
  test.each([
    ['int', NaN, null],
    ['int', 1.9, 1],
    ['int', 1e300, Number.MAX_SAFE_INTEGER],
    ['float', Infinity, null],
    ['time', -1, null],
    ['time', 1e300, null],
    ['text', 'a\0b', 'a\uFFFDb'],
    ['text', 'a\uD800', 'a\uFFFD'],
    ['json', { 'k\0': ['\0', NaN] }, { 'k\uFFFD': ['\uFFFD', null] }],
    ['bool', undefined, null],
  ] as const)('%s %p becomes %p', (kind, value, result) => {
    expect(normalize(kind, value as never)).toEqual(result);
  });

  test('any text comes out free of what Postgres refuses', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const clean = normalize('text', text) as string;
        return clean.isWellFormed() && !clean.includes('\0');
      }),
    );
  });
});
