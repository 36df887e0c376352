/** How a request leaves flow control. Closed: each one that is offered leaves once. */
export const flowOutcomes = [
  'Dispatched',
  /** No place to wait, at its arrival. */
  'RejectedCapacity',
  /** It waited for a replica to be ready, and none came in time. */
  'RejectedNoReplica',
  /** Its own deadline passed while it waited. */
  'EvictedDeadline',
  /** It waited for room as long as the queue lets anybody wait. */
  'EvictedWait',
  /** A request of a higher band or with less time took its place. */
  'EvictedPressure',
  'ClientGone',
  /** The gateway stops. */
  'Stopped',
] as const;

export type FlowOutcome = (typeof flowOutcomes)[number];
