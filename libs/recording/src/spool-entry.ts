import { crc32 } from 'node:zlib';
import type { SealedFrame } from './recorder.ts';

const magic = 0x3152464c; // "LFR1"
export const entryHeadBytes = 20;
const nameBytesMax = 0xffff;

/** magic, length of the body, records (u32 each), lengths of subject and msgId (u16 each), crc32 of all but itself; then the body. */
export function encodeEntry({ subject, msgId, bytes, records }: SealedFrame): Buffer {
  const subjectBytes = Buffer.from(subject);
  const idBytes = Buffer.from(msgId);
  if (subjectBytes.length > nameBytesMax || idBytes.length > nameBytesMax)
    throw new RangeError('subject or id too long');
  const head = Buffer.alloc(entryHeadBytes);
  head.writeUInt32LE(magic, 0);
  head.writeUInt32LE(subjectBytes.length + idBytes.length + bytes.length, 4);
  head.writeUInt32LE(records, 8);
  head.writeUInt16LE(subjectBytes.length, 12);
  head.writeUInt16LE(idBytes.length, 14);
  const body = Buffer.concat([subjectBytes, idBytes, bytes]);
  head.writeUInt32LE(checksum(head, body), 16);
  return Buffer.concat([head, body]);
}

const checksum = (head: Uint8Array, body: Uint8Array): number => crc32(body, crc32(head.subarray(0, 16)));

/** Whole length of the entry at `offset`, or 0 where none that is whole and undamaged starts there. */
export function entryLengthAt(bytes: Buffer, offset: number): number {
  if (offset + entryHeadBytes > bytes.length || bytes.readUInt32LE(offset) !== magic) return 0;
  const end = offset + entryHeadBytes + bytes.readUInt32LE(offset + 4);
  if (end > bytes.length) return 0;
  const names = bytes.readUInt16LE(offset + 12) + bytes.readUInt16LE(offset + 14);
  if (names > end - offset - entryHeadBytes) return 0;
  const head = bytes.subarray(offset, offset + entryHeadBytes);
  const body = bytes.subarray(offset + entryHeadBytes, end);
  return checksum(head, body) === head.readUInt32LE(16) ? end - offset : 0;
}

/** The frame of the entry at `offset`, or undefined where none that is whole and undamaged starts there. */
export function decodeEntry(bytes: Buffer, offset: number): SealedFrame | undefined {
  const length = entryLengthAt(bytes, offset);
  if (length === 0) return undefined;
  const idStart = offset + entryHeadBytes + bytes.readUInt16LE(offset + 12);
  const bodyStart = idStart + bytes.readUInt16LE(offset + 14);
  return {
    subject: bytes.toString('utf8', offset + entryHeadBytes, idStart),
    msgId: bytes.toString('utf8', idStart, bodyStart),
    bytes: bytes.subarray(bodyStart, offset + length),
    records: bytes.readUInt32LE(offset + 8),
  };
}

export interface ScannedEntry {
  readonly offset: number;
  readonly length: number;
}

const magicBytes = Buffer.from('LFR1');

/** Every whole entry of a segment. A torn tail and damaged parts are passed over and counted. */
export function scanEntries(bytes: Buffer): { entries: ScannedEntry[]; damagedBytes: number } {
  const entries: ScannedEntry[] = [];
  let damagedBytes = 0;
  let offset = 0;
  while (offset < bytes.length) {
    const length = entryLengthAt(bytes, offset);
    if (length > 0) {
      entries.push({ offset, length });
      offset += length;
      continue;
    }
    const found = bytes.indexOf(magicBytes, offset + 1);
    const next = found < 0 ? bytes.length : found;
    damagedBytes += next - offset;
    offset = next;
  }
  return { entries, damagedBytes };
}
