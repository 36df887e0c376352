import { CodedError } from '#libs/kernel';

/** A point in the log's history: a sequence, or a time in milliseconds since the Unix epoch. */
export type Moment = { readonly kind: 'seq'; readonly seq: number } | { readonly kind: 'time'; readonly atMs: number };

const unitMs = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const;
const durationPart = /(\d+(?:\.\d+)?)(ms|s|m|h|d|w)/y;
const isoTime = /^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:?\d{2})?)?$/;
const textLengthMax = 64;

/** Milliseconds of "90s", "1h30m", "2d"; undefined for any other text. */
export function parseDuration(text: string): number | undefined {
  if (text === '' || text.length > textLengthMax) return undefined;
  let sum = 0;
  durationPart.lastIndex = 0;
  while (durationPart.lastIndex < text.length) {
    const match = durationPart.exec(text);
    if (match === null) return undefined;
    sum += Number(match[1]) * unitMs[match[2] as keyof typeof unitMs];
  }
  return Number.isFinite(sum) ? sum : undefined;
}

/**
 * "1h" (ago), "now", "2026-11-24T15:00:00Z" (without an offset: UTC), "seq:120", "#120" or a bare "120" (a sequence).
 * @throws MOMENT_INVALID
 */
export function parseMoment(text: string, nowMs: number): Moment {
  const given = text.trim();
  if (given === 'now') return { kind: 'time', atMs: nowMs };
  const sequence = /^(?:seq:|#)?(\d{1,15})$/.exec(given);
  if (sequence !== null) return { kind: 'seq', seq: Number(sequence[1]) };
  const ago = parseDuration(given.replace(/ ?ago$/, ''));
  if (ago !== undefined) return { kind: 'time', atMs: nowMs - ago };
  if (isoTime.test(given)) {
    const dateOnly = given.length === 10;
    const zoned = dateOnly || /(?:Z|[+-]\d{2}:?\d{2})$/.test(given.slice(10));
    const atMs = Date.parse(`${given.replace(' ', 'T')}${zoned ? '' : 'Z'}`);
    if (Number.isFinite(atMs)) return { kind: 'time', atMs };
  }
  throw new CodedError('MOMENT_INVALID', `${JSON.stringify(given.slice(0, textLengthMax))} is not a moment`, {
    advice: 'Write a time (2026-11-24T15:00:00Z), how long ago (90s, 1h30m, 2d), "now", or a sequence (#120).',
  });
}

/** As `parseMoment`, where only a time makes sense. @throws MOMENT_INVALID */
export function parseTime(text: string, nowMs: number): number {
  const moment = parseMoment(text, nowMs);
  if (moment.kind === 'time') return moment.atMs;
  throw new CodedError('MOMENT_INVALID', `${JSON.stringify(text)} is a sequence; a time is needed here`, {
    advice: 'Write a time (2026-11-24T15:00:00Z) or how long ago (90s, 1h30m, 2d).',
  });
}

export function momentText(moment: Moment): string {
  return moment.kind === 'seq' ? `#${moment.seq}` : new Date(moment.atMs).toISOString();
}
