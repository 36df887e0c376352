import { route } from '#libs/contracts';
import type { Flight } from '#libs/latency-model';
import type { RecordedAttempt } from '#libs/recording';
import type { FleetReplica } from '../fleet/fleet.ts';
import type { Refusal } from './errors.ts';
import { upstreamFailed } from './errors.ts';
import { rawHeader } from './headers.ts';
import type { Handover } from './pd/handover.ts';
import type { Unfit } from './unfit.ts';
import type { Failure, UpstreamConnection } from './upstream/connection.ts';

/** One try on one replica. `end` charges the replica, exactly once. */
export class Attempt {
  httpStatus = 0;
  firstByteMs = 0;
  connection: UpstreamConnection | undefined;
  /** A request on an idle connection that turned out to be closed is sent again once, on a new one. */
  reconnected = false;
  ended: route.AttemptEnd | undefined;
  /** Its part of a request that is handed over; unspecified does all of it. */
  role: route.ReplicaRole = route.ReplicaRole.UNSPECIFIED;
  /** What it is sent, where that is not the client's own body. */
  body: Buffer | undefined;
  handover: Handover | undefined;
  /** Asked while another attempt had not answered yet. */
  hedge = false;
  /** As what it was sent, where not as it came. */
  sentAs: string | undefined;
  /** What the client is told if no other replica does better. */
  refusal: Refusal | undefined;
  /** Tokens of a broken stream that it goes on from. Undefined: it begins the answer. */
  continuedTokens: number | undefined;

  constructor(
    readonly replica: FleetReplica,
    /** Index of its pick. */
    readonly pick: number,
    readonly startMs: number,
    readonly flight: Flight,
  ) {
    replica.begin();
  }

  /** Its answer does not go to the client. */
  refused({ refusal, status }: Unfit): void {
    this.refusal = refusal;
    if (status !== undefined) this.httpStatus = status;
  }

  /** True for the call that ended it. */
  end(end: route.AttemptEnd): boolean {
    if (this.ended !== undefined) return false;
    this.ended = end;
    this.replica.end(end);
    return true;
  }

  toRecord(end: route.AttemptEnd, endMs: number, error: string): RecordedAttempt {
    const { replica, pick, startMs, firstByteMs, httpStatus, hedge, continuedTokens, role, sentAs } = this;
    const { id: replicaId } = replica;
    return {
      replicaId,
      pick,
      startMs,
      firstByteMs,
      endMs,
      end,
      httpStatus,
      error,
      hedge,
      continuedTokens,
      role,
      sentAs,
    };
  }
}

/** Up to here joining head and body of an answer costs less than writing them apart. */
export const joinBytesMax = 16 * 1024;

export const outcomeOf = (status: number): route.Outcome =>
  status < 400 ? route.Outcome.COMPLETED : route.Outcome.UPSTREAM_ERROR;

export const endOf = (failure: Failure): route.AttemptEnd => {
  if (failure === 'connect') return route.AttemptEnd.CONNECT_FAILED;
  return failure === 'reset' ? route.AttemptEnd.RESET : route.AttemptEnd.BAD_ANSWER;
};

/** Answers of an engine that another replica may do better; undefined is the engine's own word to the client. */
export function retryableEnd(status: number, from?: FleetReplica): route.AttemptEnd | undefined {
  // What a provider says of our own account is nothing to the client.
  if (from?.provider !== undefined && (status === 429 || status === 401 || status === 403)) {
    return status === 429 ? route.AttemptEnd.OVERLOADED : route.AttemptEnd.SERVER_ERROR;
  }
  if (status === 503) return route.AttemptEnd.OVERLOADED;
  return status === 502 || status === 504 ? route.AttemptEnd.SERVER_ERROR : undefined;
}

const retryAfterSMax = 3600;

/** Seconds that an engine asks to be left alone for; undefined where it says nothing of use. */
export function retryAfterOf(headers: readonly string[]): number | undefined {
  const said = Number(rawHeader(headers, 'retry-after'));
  return said > 0 && said < retryAfterSMax ? Math.ceil(said) : undefined;
}

/** Nobody answered: an error of our own that says how the last one failed. */
export function allFailed(last: route.AttemptEnd | undefined, why: string, retryAfterS: number | undefined): Refusal {
  if (last === route.AttemptEnd.OVERLOADED) return upstreamFailed(503, why, retryAfterS ?? 1);
  return upstreamFailed(last === route.AttemptEnd.TIMEOUT ? 504 : 502, why, retryAfterS);
}

const engineDeath = Buffer.from('EngineCore encountered an issue');

/** vLLM's last words while its core is dead and its server still answers: not an answer to this request. */
export const engineDied = (status: number, chunk: Buffer): boolean => status === 500 && chunk.includes(engineDeath);
