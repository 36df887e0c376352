import { PermissionViolationError, TimeoutError } from '@nats-io/transport-node';
import { JetStreamApiError } from '@nats-io/jetstream';
import { CodedError, errorText } from '#libs/kernel';

/** Codes of the JetStream API that the log knows by name. Everything else is a bug, and is thrown as it came. */
export const apiCodes = {
  wrongLastSequence: 10071,
  wrongLastSequenceUnknown: 10164,
  expectationUnavailable: 10163,
  idInProcess: 10158,
  maximumBytes: 10077,
  maximumMessages: 10079,
  messageTooLarge: 10054,
  resourcesExceeded: 10023,
  storageExceeded: 10047,
  streamNotFound: 10059,
  noMessage: 10037,
  consumerNotFound: 10014,
  streamNameInUse: 10058,
} as const;

/** Thrown by the client somewhere in the chain of causes. */
function within<T>(thrown: unknown, type: new (...args: never[]) => T): T | undefined {
  for (let error = thrown, depth = 0; error instanceof Error && depth < 5; error = error.cause, depth++) {
    if (error instanceof type) return error;
  }
  return undefined;
}

export const isForbidden = (thrown: unknown): boolean => within(thrown, PermissionViolationError) !== undefined;
export const isTimeout = (thrown: unknown): boolean => within(thrown, TimeoutError) !== undefined;

/** The code of the JetStream API, 0 for anything else. */
export function apiCode(thrown: unknown): number {
  return within(thrown, JetStreamApiError)?.code ?? 0;
}

/** No server, no JetStream just now, no answer: come again. */
export function isAway(thrown: unknown): boolean {
  if (isForbidden(thrown) || apiCode(thrown) !== 0) return false;
  if (isTimeout(thrown)) return true;
  return /no responders|jetstream is not enabled|connection|closed|draining|disconnect|503/i.test(errorText(thrown));
}

/** What an operation of a port throws when it did not come through: `<PREFIX>_FORBIDDEN` or `<PREFIX>_UNAVAILABLE`. */
export function refused(prefix: string, what: string, thrown: unknown): CodedError {
  if (thrown instanceof CodedError) return thrown;
  if (isForbidden(thrown)) {
    return new CodedError(`${prefix}_FORBIDDEN`, `${what}: ${errorText(thrown)}`, {
      advice: 'The broker confines each app to its own subjects: connect as the app that owns this one.',
      cause: thrown,
    });
  }
  return new CodedError(`${prefix}_UNAVAILABLE`, `${what}: ${errorText(thrown)}`, {
    advice: 'Is nats-server running, and were its streams set up? See docs/event-log.md.',
    cause: thrown,
  });
}
