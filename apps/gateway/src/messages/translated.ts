import type { FleetReplica } from '../fleet/fleet.ts';
import type { Asker } from '../serve/asker.ts';
import type { Attempt } from '../serve/attempt.ts';
import { badRequest } from '../serve/errors.ts';
import type { Plane } from '../serve/plane.ts';
import type { Caller, UpstreamConnection } from '../serve/upstream/connection.ts';
import { NativeCaller, TranslatingCaller } from './callers.ts';
import type { Json } from './json.ts';
import { isObject } from './json.ts';
import type { Lacks } from './offers.ts';
import { chatOf, tokenizeOf } from './to-chat.ts';
import { Untranslatable } from './untranslatable.ts';

/** Whoever sends a request: its attempt's connection is another one where it is asked again. */
export interface MessagesOwner extends Caller {
  readonly attempt: Attempt | undefined;
}

export type Send = (connection: UpstreamConnection, caller: Caller, path: string, body: Buffer) => void;

export interface MessagesRequest {
  readonly plane: Plane;
  readonly asker: Asker;
  readonly replica: FleetReplica;
  readonly connection: UpstreamConnection;
  readonly owner: MessagesOwner;
  /** With the model's name as the replica knows it. */
  readonly bodyOf: () => Buffer;
  readonly send: Send;
}

const countPath = '/v1/messages/count_tokens';
/** A replica's label by which its streams are not asked for usage. */
const usageLabel = 'lintel.stream-usage';

/**
 * Sends a request of Anthropic's protocol as chat completions to a replica that lacks it. Gives back who is to hear the answer of one that
 * has it, or undefined where it was sent.
 */
export function sendMessages(request: MessagesRequest): Caller | undefined {
  const { plane, asker, replica, connection, owner } = request;
  const { path } = asker.target.endpoint;
  const lacks = plane.messages.lacks(replica, path);
  if (lacks !== undefined) {
    translate(request, connection, lacks);
    return undefined;
  }
  if (plane.messages.settled(replica, path)) return owner;
  return new NativeCaller(
    owner,
    () => plane.messages.learn(replica, path, true),
    () => askAgain(request),
  );
}

function askAgain(request: MessagesRequest): void {
  const { plane, asker, replica, owner } = request;
  const connection = plane.pool(replica).acquire();
  if (connection === undefined || owner.attempt === undefined) {
    owner.onFailure('connect', 'too many connections to it');
    return;
  }
  owner.attempt.connection = connection;
  if (!asker.closed) translate(request, connection, 'learnt');
}

function translate(request: MessagesRequest, connection: UpstreamConnection, lacks: Lacks): void {
  const { plane, asker, replica, owner } = request;
  const { path } = asker.target.endpoint;
  const counts = path === countPath;
  let sent: Json;
  let thinks = false;
  try {
    const body: unknown = JSON.parse(request.bodyOf().toString('utf8'));
    if (!isObject(body)) throw new Untranslatable('The body must be an object.', 'body');
    thinks = isObject(body['thinking']) && body['thinking']['type'] !== 'disabled';
    sent = counts ? tokenizeOf(body) : chatOf(body, replica.labels[usageLabel] !== 'off');
  } catch (thrown) {
    const known = thrown instanceof Untranslatable;
    asker.refuse(
      badRequest('untranslatable', known ? thrown.message : 'The body is no JSON.', known ? thrown.param : null),
    );
    return;
  }
  const { attempt } = owner;
  if (attempt !== undefined) attempt.sentAs = `${counts ? '/tokenize' : '/v1/chat/completions'} (${lacks})`;
  const caller = new TranslatingCaller(owner, {
    counts,
    thinks,
    requestId: asker.requestId,
    answered: (status) => {
      if (lacks === 'learnt' && status < 400) plane.messages.learn(replica, path, false);
    },
    destroy: () => connection.destroy(),
  });
  const body = Buffer.from(JSON.stringify(sent));
  request.send(connection, caller, counts ? '/tokenize' : '/v1/chat/completions', body);
}
