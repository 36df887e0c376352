import { route } from '#libs/contracts';
import type { FleetReplica } from '../fleet/fleet.ts';
import type { Failure, UpstreamConnection } from './upstream/connection.ts';

/** One try on one replica. `end` charges the replica, exactly once. */
export class Attempt {
  httpStatus = 0;
  firstByteMs = 0;
  connection: UpstreamConnection | undefined;
  /** A request on an idle connection that turned out to be closed is sent again once, on a new one. */
  reconnected = false;
  ended: route.AttemptEnd | undefined;

  constructor(
    readonly replica: FleetReplica,
    /** Index of its pick. */
    readonly pick: number,
    readonly startMs: number,
  ) {
    replica.begin();
  }

  /** True for the call that ended it. */
  end(end: route.AttemptEnd): boolean {
    if (this.ended !== undefined) return false;
    this.ended = end;
    this.replica.end(end);
    return true;
  }
}

export const endOf = (failure: Failure): route.AttemptEnd => {
  if (failure === 'connect') return route.AttemptEnd.CONNECT_FAILED;
  return failure === 'reset' ? route.AttemptEnd.RESET : route.AttemptEnd.BAD_ANSWER;
};

/** Answers of an engine that another replica may do better; undefined is the engine's own word to the client. */
export function retryableEnd(status: number): route.AttemptEnd | undefined {
  if (status === 503) return route.AttemptEnd.OVERLOADED;
  return status === 502 || status === 504 ? route.AttemptEnd.SERVER_ERROR : undefined;
}
