import { z } from 'zod';
import type { Asked } from '../answers/commands.ts';
import { given, text } from './given.ts';

/** What a command's request may say of itself. */
export const headersGiven = z.object({
  'idempotency-key': text(100).optional(),
  traceparent: text(64).optional(),
  'x-lintel-actor': z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,31}:[\w.@-]{1,64}$/, 'must be like "cli:ann"')
    .optional(),
});

/** Set by the guard where the key is one that the log names; a client cannot. */
export const adminKeyIdHeader = 'x-lintel-admin-key-id';

export function askedBy(headers: unknown): Asked {
  const { 'idempotency-key': key, traceparent, 'x-lintel-actor': actor } = given(headersGiven, headers);
  const keyId = (headers as Record<string, string | undefined>)[adminKeyIdHeader];
  return {
    commandId: key === undefined ? undefined : `api-${key}`,
    // Who has a key of their own is named by it in the log.
    actor: keyId === undefined ? actor : `admin:${keyId}`,
    traceparent,
  };
}
