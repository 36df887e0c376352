import type { IncomingHttpHeaders } from 'node:http';
import type { FlowProfile } from '#libs/domain/route';
import { sloOf } from '../serve/headers.ts';

const one = (header: string | string[] | undefined): string | undefined => (Array.isArray(header) ? header[0] : header);

/**
 * The band of a request: what its client asks for, no higher than its key allows, else its profile. The key's is also the band where
 * nothing is asked. What says nothing is not heard.
 */
export function priorityOf(
  { priority, priorityMax }: FlowProfile,
  headers: IncomingHttpHeaders,
  ofKey: number | undefined,
): number {
  const asked = one(headers['x-lintel-priority']);
  if (asked === undefined || !/^-?\d{1,3}$/.test(asked)) return ofKey ?? priority;
  return Math.min(Number(asked), ofKey ?? Math.max(priority, priorityMax));
}

/**
 * When its first token is of no use any more, by the clock of `startMs`: as the client says (`x-slo-ttft-ms`, and no later than
 * `x-slo-e2e-ms`), else as the profile does; Infinity where nobody does.
 */
export function deadlineOf({ deadlineMs }: FlowProfile, headers: IncomingHttpHeaders, startMs: number): number {
  const first = sloOf(headers['x-slo-ttft-ms']);
  const whole = sloOf(headers['x-slo-e2e-ms']);
  const asked = first > 0 && whole > 0 ? Math.min(first, whole) : first + whole;
  const ms = asked > 0 ? asked : deadlineMs;
  return ms > 0 ? startMs + ms : Number.POSITIVE_INFINITY;
}
