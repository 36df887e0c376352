import { route } from '#libs/contracts';
import type { ContinuationProfile } from '#libs/domain/route';
import type { Answer } from '../answer.ts';
import type { FleetReplica } from '../../fleet/fleet.ts';
import type { Outgoing } from '../outgoing.ts';
import { rawHeader } from '../headers.ts';
import { continuableRequest } from './continuable.ts';
import { Continuation } from './continuation.ts';

const chatPath = '/v1/chat/completions';

/** What it takes to go on with this answer elsewhere; undefined where the profile does not want that, or it cannot be. */
export function continuationOf(
  profile: ContinuationProfile | undefined,
  outgoing: Outgoing,
  replica: FleetReplica,
  { sse, length }: Answer,
): Continuation | undefined {
  if (profile === undefined) return undefined;
  const { path } = outgoing;
  const wanted = path === chatPath ? profile.chat : path === '/v1/completions' && profile.completions;
  if (!wanted || sse === undefined || length >= 0) return undefined;
  const request = continuableRequest(outgoing.bodyFor(replica), path === chatPath);
  return request === undefined ? undefined : new Continuation(request);
}

/** Why this answer cannot be that of a replica that goes on. Its own refusal is no failure of it. */
export function cannotGoOn(status: number, headers: readonly string[]): route.AttemptEnd | undefined {
  const stream = /^text\/event-stream\b/i.test(rawHeader(headers, 'content-type') ?? '');
  if (status === 200 && stream && rawHeader(headers, 'content-encoding') === undefined) return undefined;
  return status >= 500 ? route.AttemptEnd.SERVER_ERROR : route.AttemptEnd.ANSWERED;
}
