import { InvalidArgumentError } from 'commander';

export const limitMax = 1_000_000;

/** A count that is asked for. */
export function limit(text: string): string {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= limitMax) return text;
  throw new InvalidArgumentError(`must be a whole number from 1 to ${limitMax}.`);
}

export function sequence(text: string): string {
  const bare = text.replace(/^(?:seq:|#)/, '');
  if (/^\d{1,15}$/.test(bare)) return bare;
  throw new InvalidArgumentError('must be a sequence such as 120 or #120.');
}

export const repeated = (text: string, before: readonly string[] | undefined): readonly string[] => [
  ...(before ?? []),
  text,
];
