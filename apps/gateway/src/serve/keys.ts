import { hash } from 'node:crypto';
import type { tenancy } from '#libs/contracts';
import { findKey } from '#libs/domain/tenancy';
import type { IncomingHttpHeaders } from 'node:http';
import type { GatewayState } from '../control/state.ts';
import type { Asking } from '../edge/client-address.ts';
import type { Plane } from './plane.ts';
import type { Dialect } from './endpoints.ts';
import type { Refusal } from './errors.ts';
import { invalidKey, tooManyKeys } from './errors.ts';

const bearer = /^bearer +([^\s]+) *$/i;

/** Hashes of keys that were good, by their text: to hash one costs more than the rest of looking it up. */
const known = new Map<string, string>();
const knownMax = 4_096;

function remember(presented: string, keyHash: string): void {
  if (known.size >= knownMax) known.delete(known.keys().next().value as string);
  known.set(presented, keyHash);
}

/** The key of a request, or why it is refused. Anthropic's clients send it as `x-api-key`. */
export function keyOf(
  { authorization, 'x-api-key': apiKey }: IncomingHttpHeaders,
  dialect: Dialect,
  state: GatewayState,
  nowMs: number,
  { keyGuard: guard, edge }: Pick<Plane, 'keyGuard' | 'edge'>,
  /** Whose address is asked for only where keys have failed of late. */
  request: Asking,
): { readonly key: tenancy.KeyIssued } | { readonly refusal: Refusal } {
  const presented =
    dialect === 'anthropic' && typeof apiKey === 'string'
      ? apiKey.trim()
      : authorization === undefined
        ? undefined
        : bearer.exec(authorization)?.[1];
  if (presented === undefined) return { refusal: invalidKey('missing') };
  // The table is of hashes: how long a look takes tells nothing of a key that is nearly right.
  const before = known.get(presented);
  const keyHash = before ?? hash('sha256', presented, 'hex');
  const waitS = guard.idle ? 0 : guard.waitS(edge.addresses.of(request), keyHash, nowMs);
  if (waitS > 0) return { refusal: tooManyKeys(waitS) };
  const found = findKey(state.tenancy, keyHash, nowMs);
  if (found === undefined) {
    guard.failed(edge.addresses.of(request), nowMs);
    return { refusal: invalidKey('unknown') };
  }
  if (before === undefined && found.status === 'good') remember(presented, keyHash);
  if (!guard.idle && found.status === 'good') guard.succeeded(edge.addresses.of(request), keyHash);
  return found.status === 'good' ? { key: found.key } : { refusal: invalidKey(found.status) };
}
