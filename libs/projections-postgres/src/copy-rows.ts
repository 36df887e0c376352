import type { AppendedRows, ColumnKind } from '#libs/projections';
import { roomFor, ValueWriter, wireColumn } from './binary-values.ts';

/** 11 bytes by which COPY knows its binary form, no flags, no extension. */
const signature = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1');
const copyData = 0x64;
const copyDone = 0x63;
/** The server begins with a message once it has all of it: short ones let it work while the rest is under way. */
const messageBytesMin = 64 * 1024;
const messageHeadBytes = 5;

/**
 * Rows as COPY in its binary form takes them, in CopyData messages and with the CopyDone behind: the whole is one write to the connection.
 * To the server a row costs half of what it costs out of `unnest`: no array is taken apart, nothing is kept in between, and the
 * write-ahead log gets one entry for a page of rows.
 */
export function copyMessages({ table, columns, count }: AppendedRows): Buffer {
  const wire = [...columns].map(([name, values]) => wireColumn(table.columns[name] as ColumnKind, values));
  let room = signature.length + 2 * (count + 1) + 3 * messageHeadBytes;
  for (const column of wire) room += roomFor(column);
  room += messageHeadBytes * Math.ceil(room / messageBytesMin);
  const out = new ValueWriter(room);
  let opened = open(out);
  out.raw(signature);
  for (let row = 0; row < count; row++) {
    out.int16(wire.length);
    for (const { kind, values } of wire) out.value(kind, values[row] ?? null);
    if (out.at - opened < messageBytesMin) continue;
    close(out, opened);
    opened = open(out);
  }
  out.int16(-1);
  close(out, opened);
  out.int8(copyDone);
  out.int32(4);
  return out.written();
}

/** Answers where the length is to be written. */
function open(out: ValueWriter): number {
  out.int8(copyData);
  const at = out.at;
  out.int32(0);
  return at;
}

function close(out: ValueWriter, opened: number): void {
  out.int32(out.at - opened, opened);
}
