import type { Generation, Projection } from '#libs/projections';
import { cursorTable, requestTable, usageTable } from '#libs/projections';
import type { Database } from './database.ts';
import { dayMs, partitionStatement, quote, schemaName } from './ddl.ts';

/**
 * Request records live longer in the tables than in their stream. A rebuild of the same version takes the rows from before the
 * stream's first frame over from the tables in use, and starts folding at that frame.
 */
export async function seedFromLive(
  database: Database,
  projection: Projection,
  generation: Generation,
  firstSeq: number,
): Promise<void> {
  if (projection.source !== 'frames') return;
  if (projection.tables.includes(usageTable)) {
    await takeOver(database, projection, generation);
    return;
  }
  const { name, version, generation: number } = generation;
  await database.transaction(async (client) => {
    const { rows: live } = await client.query<{ version: number; schema_name: string; seq: number }>(
      `select version, schema_name, seq from lintel.projection where name = $1 and phase = 'live' for share`,
      [name],
    );
    if (live[0] === undefined || live[0].version !== version || live[0].seq < firstSeq - 1) return;
    const from = quote(live[0].schema_name);
    const schema = schemaName(name, version, number);
    for (const table of projection.tables) {
      if (table.columns['stream_seq'] === undefined) continue;
      if (table.partitionByDay !== undefined) {
        const { rows: days } = await client.query<{ day: number }>(
          `select distinct floor(extract(epoch from ${quote(table.partitionByDay)}) / 86400)::int8 as day
           from ${from}.${quote(table.name)} where stream_seq < $1`,
          [firstSeq],
        );
        for (const { day } of days) await client.query(partitionStatement(schema, table, day * dayMs));
      }
      await client.query(
        `insert into ${quote(schema)}.${quote(table.name)} select * from ${from}.${quote(table.name)} where stream_seq < $1`,
        [firstSeq],
      );
    }
    // Where each gateway's numbers stood at that frame; holes from before stay as they are.
    await client.query(
      `insert into ${quote(schema)}.${quote(cursorTable.name)} (gateway_id, boot_id, last_frame_seq, last_seen_seq, holes)
       select gateway_id, boot_id, max(frame_seq), max(stream_seq), '[]'
       from ${from}.${quote(requestTable.name)} where stream_seq < $1 group by 1, 2`,
      [firstSeq],
    );
    await client.query(
      `update lintel.projection set seq = $4 where name = $1 and version = $2 and generation = $3 and seq = 0`,
      [name, version, number, firstSeq - 1],
    );
  });
}

/**
 * Sums cannot be parted by the frames that they came from: of a ledger whose first frames are gone all is taken over as it stands, and the
 * fold goes on from there. So a rebuild never loses what was spent.
 */
async function takeOver(database: Database, projection: Projection, generation: Generation): Promise<void> {
  const { name, version, generation: number } = generation;
  await database.transaction(async (client) => {
    const { rows: live } = await client.query<{ version: number; schema_name: string; seq: number }>(
      `select version, schema_name, seq from lintel.projection where name = $1 and phase = 'live' for update`,
      [name],
    );
    if (live[0] === undefined || live[0].version !== version) return;
    const from = quote(live[0].schema_name);
    const to = quote(schemaName(name, version, number));
    for (const table of projection.tables) {
      await client.query(`insert into ${to}.${quote(table.name)} select * from ${from}.${quote(table.name)}`);
    }
    await client.query(
      `update lintel.projection set seq = $4 where name = $1 and version = $2 and generation = $3 and seq = 0`,
      [name, version, number, live[0].seq],
    );
  });
}
