import { engineLimits } from './limits.ts';

/**
 * Walks a msgpack text without building anything and answers what is wrong with it, before a decoder believes its lengths: an
 * array of four thousand million items takes five bytes to announce. Extensions are refused: engines send none.
 */
export function msgpackProblem(bytes: Uint8Array): string | undefined {
  if (bytes.byteLength > engineLimits.kvMessageBytesMax) return `${bytes.byteLength} bytes`;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  /** Items still to come, for each open array or map. */
  const open: number[] = [1];
  let at = 0;
  while (open.length > 0) {
    const depth = open.length - 1;
    if (open[depth] === 0) {
      open.pop();
      continue;
    }
    (open[depth] as number)--;
    if (at >= bytes.byteLength) return 'it ends in the middle';
    const token = tokenAt(view, at, bytes[at] as number);
    if (token === undefined) return 'it ends in the middle';
    if (token === 'refused') return `type 0x${(bytes[at] as number).toString(16)} is not used by engines`;
    at += token.bytes;
    if (at > bytes.byteLength) return 'it ends in the middle';
    if (token.items === 0) continue;
    // Each item takes at least one byte.
    if (token.items > bytes.byteLength - at)
      return `${token.items} items announced, ${bytes.byteLength - at} bytes left`;
    if (open.length > engineLimits.kvNestingMax) return 'it nests too deep';
    open.push(token.items);
  }
  return at === bytes.byteLength ? undefined : `${bytes.byteLength - at} bytes too many`;
}

interface Token {
  /** Of the head and of the text or bytes behind it. */
  readonly bytes: number;
  /** Values that follow as its content. */
  readonly items: number;
}

const plain = (bytes: number): Token => ({ bytes, items: 0 });

function tokenAt(view: DataView, at: number, head: number): Token | 'refused' | undefined {
  if (head < 0x80 || head >= 0xe0) return plain(1);
  if (head < 0x90) return { bytes: 1, items: (head & 0x0f) * 2 };
  if (head < 0xa0) return { bytes: 1, items: head & 0x0f };
  if (head < 0xc0) return plain(1 + (head & 0x1f));
  const length = (size: 1 | 2 | 4): number | undefined => {
    if (at + 1 + size > view.byteLength) return undefined;
    return size === 1 ? view.getUint8(at + 1) : size === 2 ? view.getUint16(at + 1) : view.getUint32(at + 1);
  };
  const sized = (size: 1 | 2 | 4, of: (count: number) => Token): Token | undefined => {
    const count = length(size);
    return count === undefined ? undefined : of(count);
  };
  switch (head) {
    case 0xc0: // nil
    case 0xc2: // false
    case 0xc3: // true
      return plain(1);
    case 0xc4: // bin
    case 0xd9: // str
      return sized(1, (count) => plain(2 + count));
    case 0xc5:
    case 0xda:
      return sized(2, (count) => plain(3 + count));
    case 0xc6:
    case 0xdb:
      return sized(4, (count) => plain(5 + count));
    case 0xcc: // numbers
    case 0xd0:
      return plain(2);
    case 0xcd:
    case 0xd1:
      return plain(3);
    case 0xca:
    case 0xce:
    case 0xd2:
      return plain(5);
    case 0xcb:
    case 0xcf:
    case 0xd3:
      return plain(9);
    case 0xdc: // array
      return sized(2, (items) => ({ bytes: 3, items }));
    case 0xdd:
      return sized(4, (items) => ({ bytes: 5, items }));
    case 0xde: // map
      return sized(2, (count) => ({ bytes: 3, items: count * 2 }));
    case 0xdf:
      return sized(4, (count) => ({ bytes: 5, items: count * 2 }));
    default:
      return 'refused';
  }
}
