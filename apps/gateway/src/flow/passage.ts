import type { Entry, FlowIdentity, FlowOutcome, Ticket } from '#libs/flow-control';
import type { Refusal } from '../serve/errors.ts';
import type { FleetReplica } from '../fleet/fleet.ts';
import type { Routed } from '../serve/routing.ts';

/** The request as flow control sees it. */
export interface FlowAsker {
  readonly where: Routed;
  /** It waits no longer: to be sent to a replica that has room now. */
  dispatch(queuedMs: number): void;
  refuse(refusal: Refusal, queuedMs: number): void;
}

/** One request's way through flow control. */
export interface Passage {
  readonly identity: FlowIdentity;
  readonly enteredMs: number;
  entry: Entry<QueuedRequest> | undefined;
  ticket: Ticket | undefined;
  /** Replicas without room at its dispatch; its first pick leaves them out. */
  full: readonly FleetReplica[];
  /** There was no place to wait. */
  refused: Refusal | undefined;
}

export interface QueuedRequest {
  readonly asker: FlowAsker;
  readonly passage: Passage;
}

export interface Used {
  readonly promptTokens: number;
  readonly completionTokens: number;
}

export type LeaveOutcome = Extract<FlowOutcome, 'client_gone' | 'stopped'>;
