import { hash } from 'node:crypto';
import type { tenancy } from '#libs/contracts';
import { findKey } from '#libs/domain/tenancy';
import type { IncomingHttpHeaders } from 'node:http';
import type { GatewayState } from '../control/state.ts';
import type { Dialect } from './endpoints.ts';
import type { Refusal } from './errors.ts';
import { invalidKey } from './errors.ts';

const bearer = /^bearer +([^\s]+) *$/i;

/** The key of a request, or why it is refused. Anthropic's clients send it as `x-api-key`. */
export function keyOf(
  { authorization, 'x-api-key': apiKey }: IncomingHttpHeaders,
  dialect: Dialect,
  state: GatewayState,
  nowMs: number,
): { readonly key: tenancy.KeyIssued } | { readonly refusal: Refusal } {
  const presented =
    dialect === 'anthropic' && typeof apiKey === 'string'
      ? apiKey.trim()
      : authorization === undefined
        ? undefined
        : bearer.exec(authorization)?.[1];
  if (presented === undefined) return { refusal: invalidKey('missing') };
  const found = findKey(state.tenancy, hash('sha256', presented, 'hex'), nowMs);
  if (found === undefined) return { refusal: invalidKey('unknown') };
  return found.status === 'good' ? { key: found.key } : { refusal: invalidKey(found.status) };
}
