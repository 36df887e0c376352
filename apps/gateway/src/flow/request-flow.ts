import type { IncomingHttpHeaders } from 'node:http';
import type { FlowProfile } from '#libs/domain/route';
import { gateLimits } from './limits.ts';

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

/** When its first token is of no use any more, by the clock of `startMs`; Infinity where the client does not say. */
export function deadlineOf(headers: IncomingHttpHeaders, startMs: number): number {
  const asked = one(headers['x-slo-ttft-ms']);
  if (asked === undefined || !/^\d{1,8}$/.test(asked)) return Number.POSITIVE_INFINITY;
  const ms = Number(asked);
  return ms > 0 && ms <= gateLimits.deadlineMsMax ? startMs + ms : Number.POSITIVE_INFINITY;
}
