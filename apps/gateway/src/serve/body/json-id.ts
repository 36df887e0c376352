import { JsonCursor } from './json-cursor.ts';

const depthMax = 64;
const cursor = new JsonCursor(depthMax);
const idBytesMax = 258;

/** The text of the top-level `id` of a JSON object whose first bytes these are; '' where it is not among them. */
export function topLevelId(head: Buffer): string {
  cursor.open(head);
  try {
    cursor.space();
    if (head[cursor.at] !== 0x7b) return '';
    cursor.at++;
    for (;;) {
      cursor.space();
      const key = cursor.at;
      if (!cursor.string()) return '';
      const wanted = cursor.at - key === 4 && head.toString('latin1', key + 1, key + 3) === 'id';
      cursor.space();
      if (head[cursor.at] !== 0x3a) return '';
      cursor.at++;
      cursor.space();
      const start = cursor.at;
      if (!cursor.value(1)) return '';
      if (wanted) {
        return head[start] === 0x22 && cursor.at - start <= idBytesMax ? cursor.text(start, cursor.at) : '';
      }
      cursor.space();
      if (head[cursor.at] !== 0x2c) return '';
      cursor.at++;
    }
  } finally {
    cursor.close();
  }
}
