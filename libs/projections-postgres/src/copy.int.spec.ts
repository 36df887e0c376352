import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Changes, Generation, Projection, Row, Table } from '#libs/projections';
import { Changes as BatchChanges } from '#libs/projections';
import type { Database } from '#libs/projections-postgres';
import { migrate, openDatabase, PostgresProjectionStore } from '#libs/projections-postgres';
import type { LaunchedPostgres } from '#libs/testkit';
import { launchPostgres } from '#libs/testkit';

const allKinds: Table = {
  name: 'thing',
  view: 'things_view',
  appendOnly: true,
  columns: { id: 'int', name: 'text', share: 'float', done: 'bool', tags: 'json', raw: 'bytes', at: 'time' },
  key: ['id'],
};
const sums: Table = { name: 'sum', columns: { name: 'text', total: 'int' }, key: ['name'] };
const things: Projection = {
  name: 'things',
  version: 1,
  source: 'events',
  tables: [allKinds, sums],
  begin: () => ({ apply: () => {} }),
};

let postgres: LaunchedPostgres;
let database: Database;
let store: PostgresProjectionStore;
let generation: Generation;

beforeAll(async () => {
  postgres = await launchPostgres();
  database = openDatabase({ url: postgres.url });
  await migrate(database);
  store = new PostgresProjectionStore(database);
  ({ generation } = await store.open(things));
});
afterAll(async () => {
  await database.close();
  await postgres.stop();
});

function batch(rows: readonly Row[], total: number): Changes {
  const changes = new BatchChanges();
  for (const row of rows) changes.put(allKinds, row);
  changes.put(sums, { name: 'all', total });
  return changes;
}

const moved = async (fromSeq: number, toSeq: number, changes: Changes): Promise<'moved' | 'fenced'> =>
  await store.move(generation, { fromSeq, toSeq, writer: 'me', changes, items: 1, headSeq: toSeq });

const stored = async (): Promise<Row[]> => await database.query<Row>('select * from lintel.things_view order by id');
const total = async (): Promise<unknown> =>
  (await database.query(`select total from "proj_things_v1_g1"."sum" where name = 'all'`))[0]?.['total'];

const longText = `${'long and not only ASCII: ü€🙂 '.repeat(9_000)}.`;
const rows: Row[] = [
  { id: 1, name: '', share: 0, done: false, tags: [], raw: Buffer.alloc(0), at: 0 },
  { id: 2, name: null, share: null, done: null, tags: null, raw: null, at: null },
  {
    id: Number.MAX_SAFE_INTEGER,
    name: 'ü€🙂',
    share: -1.5e-300,
    done: true,
    tags: { 'a"b': ['\u2028', 1.5, null, { deep: true }] },
    raw: Buffer.from([0, 10, 92, 255]),
    at: 1_790_000_000_123,
  },
  // More than a message, in one row and in many.
  { id: 3, name: longText, share: 1, done: true, tags: [longText], raw: Buffer.alloc(200_000, 7), at: 1 },
  ...Array.from({ length: 3_000 }, (_, index) => ({
    id: 100 + index,
    name: `n${index}`.repeat(1 + (index % 40)),
    share: index / 7,
    done: index % 2 === 0,
    tags: [index],
    raw: Buffer.from([index & 255]),
    at: 946_684_800_000 - 5 * 86_400_000 + index,
  })),
];
const byId = rows.toSorted((a, b) => (a['id'] as number) - (b['id'] as number));

test('L4 every kind of value comes back as it was given, in one batch with rows that change', async () => {
  expect(await moved(0, 1, batch(rows, 5))).toBe('moved');
  expect(await stored()).toEqual(byId);
  expect(await total()).toBe(5);
});

test('L4 a batch from another checkpoint leaves neither rows nor changes, and the connection goes on', async () => {
  expect(await moved(0, 1, batch([{ id: 50, name: 'late' }], 6))).toBe('fenced');
  expect(await moved(7, 9, batch([{ id: 50, name: 'early' }], 6))).toBe('fenced');
  expect(await stored()).toEqual(byId);
  expect(await total()).toBe(5);
  expect((await store.position(generation)).seq).toBe(1);
});

test('L4 a row that is there already is written over, also where it comes twice in a batch', async () => {
  const again = { ...byId[0], name: 'again' };
  expect(await moved(1, 2, batch([again, again, { id: 51, name: 'new' }], 7))).toBe('moved');
  const now = await stored();
  expect(now[0]).toEqual(again);
  expect(now).toHaveLength(rows.length + 1);
  expect(await total()).toBe(7);
});

test('L4 a value that the database refuses takes the whole batch with it', async () => {
  const changes = batch([{ id: 52, name: 'fine' }], 8);
  // Past what `put` mends, as a value of a future kind might be.
  changes.appended.get(allKinds)?.columns.get('name')?.splice(0, 1, 'nul \0 inside');
  await expect(moved(2, 3, changes)).rejects.toMatchObject({ code: 'PROJECTION_ROW_REFUSED' });
  expect(await stored()).toHaveLength(rows.length + 1);
  expect([await total(), (await store.position(generation)).seq]).toEqual([7, 2]);
  expect(await moved(2, 3, batch([{ id: 52, name: 'fine' }], 8))).toBe('moved');
});

test('L4 moves and the making of indexes do not wait for each other in a ring', async () => {
  const writes = (async () => {
    for (let seq = 3; seq < 43; seq++) await moved(seq, seq + 1, batch([{ id: 10_000 + seq, name: 'x' }], seq));
  })();
  for (let round = 0; round < 10; round++) await store.index(things, generation);
  await writes;
  expect((await store.position(generation)).seq).toBe(43);
});
