import { createHash } from 'node:crypto';
import type { Rng } from '#libs/kernel';

const wordsPerKey = 6;

/** A new API key: `lk-` and 192 random bits in base64url. Shown once, never stored. `rng` must be the system's. */
export function newApiKey(rng: Rng): string {
  const bytes = Buffer.alloc(wordsPerKey * 4);
  for (let word = 0; word < wordsPerKey; word++) bytes.writeUInt32LE(rng.uint32(), word * 4);
  return `lk-${bytes.toString('base64url')}`;
}

/** sha256 of the key's UTF-8 bytes, hex: the only form in which keys are kept. */
export const hashApiKey = (key: string): string => createHash('sha256').update(key, 'utf8').digest('hex');
