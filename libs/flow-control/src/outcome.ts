/** How a request leaves flow control. Closed: each one that is offered leaves once. */
export const flowOutcomes = [
  'dispatched',
  /** No place to wait, at its arrival. */
  'rejected_capacity',
  /** It waited for a replica to be ready, and none came in time. */
  'rejected_no_replica',
  /** Its own deadline passed while it waited. */
  'evicted_deadline',
  /** It waited for room as long as the queue lets anybody wait. */
  'evicted_wait',
  /** A request of a higher band or with less time took its place. */
  'evicted_pressure',
  'client_gone',
  /** The gateway stops. */
  'stopped',
] as const;

export type FlowOutcome = (typeof flowOutcomes)[number];
