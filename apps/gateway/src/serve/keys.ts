import { hash } from 'node:crypto';
import type { tenancy } from '#libs/contracts';
import { findKey } from '#libs/domain/tenancy';
import type { GatewayState } from '../control/state.ts';
import type { Refusal } from './errors.ts';
import { invalidKey } from './errors.ts';

const bearer = /^bearer +([^\s]+) *$/i;

/** The key of a request, or why it is refused. */
export function keyOf(
  authorization: string | undefined,
  state: GatewayState,
  nowMs: number,
): { readonly key: tenancy.KeyIssued } | { readonly refusal: Refusal } {
  if (authorization === undefined) return { refusal: invalidKey('missing') };
  const presented = bearer.exec(authorization)?.[1];
  if (presented === undefined) return { refusal: invalidKey('missing') };
  const found = findKey(state.tenancy, hash('sha256', presented, 'hex'), nowMs);
  if (found === undefined) return { refusal: invalidKey('unknown') };
  return found.status === 'good' ? { key: found.key } : { refusal: invalidKey(found.status) };
}
