import { fnv1a32, mix32 } from '#libs/kernel';

/** Ids below are single UTF-16 units, above are hashes of pieces. */
const unitsMax = 256;
const pieceLengthMax = 4;
export const vocabularySize = 128_256;

/** Words that the toy model speaks: each is one token, also when a client sends them back. */
const words = (
  'the sea and old sun low red sky far off day one two ten men met her own way saw his dog run out new top hill air was wet ' +
  'ice big map let you ask how why log key bus row sum set add all act age aim art bit box bug car cup cut end eye fit fly fun gap'
)
  .split(' ')
  .map((word) => ` ${word.slice(0, pieceLengthMax - 1)}`);

const pieces = new Map<number, string>();

function idOf(piece: string): number {
  const unit = piece.charCodeAt(0);
  if (piece.length === 1 && unit < unitsMax) return unit;
  const id = unitsMax + (fnv1a32(piece) % (vocabularySize - unitsMax));
  if (!pieces.has(id)) pieces.set(id, piece); // bounded by the vocabulary
  return id;
}

const isHighSurrogate = (unit: number): boolean => unit >= 0xd800 && unit < 0xdc00;

/** Pieces of about four characters that start at a space where there is one: a prefix of a text has a prefix of its tokens. */
export function encode(text: string): number[] {
  const tokens: number[] = [];
  let from = 0;
  while (from < text.length) {
    let to = from + 1;
    while (to < text.length && to - from < pieceLengthMax && text.charCodeAt(to) > 32) to++;
    if (isHighSurrogate(text.charCodeAt(to - 1)) && to < text.length) to++; // never half a character
    tokens.push(idOf(text.slice(from, to)));
    from = to;
  }
  return tokens;
}

/** What a token stands for; a token never seen is one visible sign. */
export function pieceOf(token: number): string {
  if (token < unitsMax) return String.fromCharCode(token);
  return pieces.get(token) ?? '\u00b7';
}

export function decode(tokens: readonly number[]): string {
  return tokens.map(pieceOf).join('');
}

const spoken = words.map(idOf);

/** The toy model: the token after `index` others, of a seed. */
export function spokenToken(seed: number, index: number): number {
  return spoken[mix32(seed + Math.imul(index, 0x9e3779b1)) % spoken.length]!;
}

export function tokensHash(tokens: readonly number[], seed: number): number {
  let hash = seed | 0;
  for (const token of tokens) hash = Math.imul(hash ^ token, 0x01000193);
  return mix32(hash);
}

/** A log probability that looks like one and is always the same for the same token. */
export function logprobOf(token: number, rank: number): number {
  return -((mix32(token + rank) % 1000) / 1000) - rank * 0.7 - 0.01;
}
