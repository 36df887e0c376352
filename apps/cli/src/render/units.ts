import type { Layout } from './text.ts';
import { integer } from './text.ts';

/** Unknown is shown as unknown, never as 0. */
export const unknown = '?';

/** Three significant digits without an exponent: 0.421, 12.3, 1234. */
export function digits(value: number): string {
  const size = Math.abs(value);
  if (Number.isInteger(value)) return integer(value);
  if (size >= 100) return integer(Math.round(value));
  return String(Number(value.toFixed(size >= 10 ? 1 : size >= 1 ? 2 : 3)));
}

/** A duration in the unit that people would say: 0.42 ms, 12.3 ms, 4.21 s, 3 m 20 s, 2 h 5 m, 4 d 3 h. */
export function duration(valueMs: number | null | undefined): string {
  if (valueMs === null || valueMs === undefined || !Number.isFinite(valueMs)) return unknown;
  const size = Math.abs(valueMs);
  if (size < 999.5) return `${digits(valueMs)} ms`;
  if (size < 59_995) return `${(valueMs / 1_000).toFixed(2)} s`;
  const seconds = Math.round(valueMs / 1_000);
  if (size < 3_600_000) return `${Math.trunc(seconds / 60)} m ${Math.abs(seconds % 60)} s`;
  const minutes = Math.round(valueMs / 60_000);
  if (size < 86_400_000) return `${Math.trunc(minutes / 60)} h ${Math.abs(minutes % 60)} m`;
  const hours = Math.round(valueMs / 3_600_000);
  return `${Math.trunc(hours / 24)} d ${Math.abs(hours % 24)} h`;
}

export const microseconds = (value: number | null | undefined): string =>
  value === null || value === undefined ? unknown : value < 1_000 ? `${digits(value)} µs` : duration(value / 1_000);

/** How old a value was: "now" for one counted at that instant. */
export const age = (ageMs: number | null | undefined): string =>
  ageMs === 0 ? 'now' : ageMs === null || ageMs === undefined ? unknown : duration(ageMs);

export const score = (value: number | null | undefined): string =>
  value === null || value === undefined ? unknown : value.toFixed(3);

export const count = (value: number | null | undefined): string =>
  value === null || value === undefined ? unknown : integer(value);

const shares: ReadonlySet<string> = new Set(['kvUse', 'warmth']);

/** A value of a scheduler's column: shares in percent, counts as they are. */
export function columnValue(column: string, value: number | null): string {
  if (value === null) return unknown;
  return shares.has(column) ? `${digits(value * 100)} %` : digits(value);
}

/** Local ISO 8601 with the offset: 2026-11-24 16:00:03.123+01:00. */
export function time(atMs: number | null | undefined, { offsetMinutes }: Pick<Layout, 'offsetMinutes'>): string {
  if (atMs === null || atMs === undefined || !Number.isFinite(atMs) || Math.abs(atMs) > 8.64e15 - 86_400_000) {
    return unknown;
  }
  const offset = offsetMinutes(atMs);
  const local = new Date(atMs + offset * 60_000).toISOString();
  const two = (value: number): string => String(value).padStart(2, '0');
  const sign = offset < 0 ? '-' : '+';
  const zone = `${sign}${two(Math.trunc(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`;
  return `${local.slice(0, 10)} ${local.slice(11, 23)}${zone}`;
}
