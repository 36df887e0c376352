import type { BusHeaders } from '#libs/event-log';

/**
 * What may stand beside a command on the bus: who asks, why, and what it follows from. The answering service puts it into the commit.
 * All are optional; names are lower case on the wire.
 */
export const commandHeaders = {
  /** "cli:<user>", "diagnostics:<instance>" … */
  actor: 'lintel-actor',
  /** Names the command for ever: given again under the same id it takes effect once. */
  commandId: 'lintel-command-id',
  causeId: 'lintel-cause-id',
  correlationId: 'lintel-correlation-id',
  traceparent: 'traceparent',
  reason: 'lintel-reason',
} as const;

export type CommandOrigin = { readonly [Name in keyof typeof commandHeaders]?: string };

export function toCommandHeaders(origin: CommandOrigin): BusHeaders {
  const headers: Record<string, string> = {};
  for (const [name, header] of Object.entries(commandHeaders)) {
    const value = origin[name as keyof CommandOrigin];
    // A header is one line.
    if (value !== undefined && value !== '') headers[header] = value.replace(/[\r\n]+/g, ' ').slice(0, headerLengthMax);
  }
  return headers;
}

export function fromCommandHeaders(headers: BusHeaders): CommandOrigin {
  const origin: Record<string, string> = {};
  for (const [name, header] of Object.entries(commandHeaders)) {
    const value = headers[header];
    if (value !== undefined && value !== '') origin[name] = value.slice(0, headerLengthMax);
  }
  return origin;
}

const headerLengthMax = 512;
