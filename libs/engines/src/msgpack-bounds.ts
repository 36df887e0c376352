import { engineLimits } from './limits.ts';

/** By head: bytes of a value without content of its own, 0 for all others. */
export const scalarBytes = new Uint8Array(256);
scalarBytes.fill(1, 0, 0x80);
scalarBytes.fill(1, 0xe0, 0x100);
for (const [bytes, heads] of [
  [1, [0xc0, 0xc2, 0xc3]], // nil, false, true
  [2, [0xcc, 0xd0]], // integers
  [3, [0xcd, 0xd1]],
  [5, [0xce, 0xd2, 0xca]], // and floats
  [9, [0xcf, 0xd3, 0xcb]],
] as const) {
  for (const head of heads) scalarBytes[head] = bytes;
}

const endsEarly = 'it ends in the middle';

/**
 * Walks a msgpack text without building anything and answers what is wrong with it, before a decoder believes its lengths: an
 * array of four thousand million items takes five bytes to announce. Extensions are refused: engines send none.
 */
export function msgpackProblem(bytes: Uint8Array): string | undefined {
  const end = bytes.byteLength;
  if (end > engineLimits.kvMessageBytesMax) return `${end} bytes`;
  /** Items still to come, for each array or map that is open around the innermost. */
  const open: number[] = [];
  let items = 1;
  let at = 0;
  for (;;) {
    // Lists of hashes and tokens are walked here.
    for (; items > 0 && at < end; items--) {
      const size = scalarBytes[bytes[at] as number] as number;
      if (size === 0) break;
      at += size;
    }
    if (items === 0) {
      const outer = open.pop();
      if (outer === undefined) break;
      items = outer;
      continue;
    }
    if (at >= end) return endsEarly;
    items--;
    const head = bytes[at] as number;
    const lengthBytes = lengthBytesOf(head);
    if (lengthBytes < 0) return `type 0x${head.toString(16)} is not used by engines`;
    if (at + 1 + lengthBytes > end) return endsEarly;
    const length = lengthAt(bytes, at, lengthBytes);
    at += 1 + lengthBytes;
    if (!isContainer(head)) {
      at += length;
      continue;
    }
    const inside = isMap(head) ? length * 2 : length;
    if (inside === 0) continue;
    // Each item takes at least one byte.
    if (inside > end - at) return `${inside} items announced, ${end - at} bytes left`;
    if (open.length >= engineLimits.kvNestingMax) return 'it nests too deep';
    open.push(items);
    items = inside;
  }
  if (at > end) return endsEarly;
  return at === end ? undefined : `${end - at} bytes too many`;
}

export const isMap = (head: number): boolean => (head >= 0x80 && head < 0x90) || head === 0xde || head === 0xdf;
export const isArray = (head: number): boolean => (head >= 0x90 && head < 0xa0) || head === 0xdc || head === 0xdd;
export const isText = (head: number): boolean => (head >= 0xa0 && head < 0xc0) || (head >= 0xd9 && head <= 0xdb);
export const isBytes = (head: number): boolean => head >= 0xc4 && head <= 0xc6;
const isContainer = (head: number): boolean => isMap(head) || isArray(head);

/** Bytes that say the length of a text, bytes, array or map, behind its head; -1 of what is none. */
export function lengthBytesOf(head: number): number {
  if (head >= 0x80 && head < 0xc0) return 0;
  switch (head) {
    case 0xc4: // bytes
    case 0xd9: // text
      return 1;
    case 0xc5:
    case 0xda:
    case 0xdc: // array
    case 0xde: // map
      return 2;
    case 0xc6:
    case 0xdb:
    case 0xdd:
    case 0xdf:
      return 4;
    default:
      return -1;
  }
}

/** Of the value whose head is at `at`. */
export function lengthAt(bytes: Uint8Array, at: number, lengthBytes: number): number {
  if (lengthBytes === 0) {
    const head = bytes[at] as number;
    return head & (head < 0xa0 ? 0x0f : 0x1f);
  }
  let length = 0;
  for (let i = 1; i <= lengthBytes; i++) length = length * 256 + (bytes[at + i] as number);
  return length;
}
