import { route } from '#libs/contracts';
import type { FlowOutcome } from '#libs/flow-control';
import type { Refusal } from '../serve/errors.ts';

const { Outcome, StageCause } = route;

/** What a refusal says of the pool, for a model route that names another one; undefined where another one is of no help. */
export function causeOfRefusal({ code }: Refusal): route.StageCause | undefined {
  if (code === 'queue_full' || code === 'queue_evicted' || code === 'queue_wait_exceeded') return StageCause.SATURATED;
  return code === 'no_ready_replica' ? StageCause.GONE : undefined;
}

/** What a request is told that waited, or was to wait, in vain. */
export function refusalOf(outcome: FlowOutcome): Refusal {
  switch (outcome) {
    case 'rejected_capacity':
      return {
        status: 429,
        code: 'queue_full',
        message: 'Every replica is busy and there is no place left to wait. Try again.',
        outcome: Outcome.REJECTED_CAPACITY,
        retryAfterS: 1,
      };
    case 'evicted_pressure':
      return {
        status: 429,
        code: 'queue_evicted',
        message: 'Every replica is busy, and a more urgent request took this one its place to wait. Try again.',
        outcome: Outcome.REJECTED_CAPACITY,
        retryAfterS: 2,
      };
    case 'evicted_deadline':
      return {
        status: 503,
        code: 'queue_deadline_exceeded',
        message:
          'No replica had room before the deadline of the request (x-slo-ttft-ms, x-slo-e2e-ms or its profile). Allow more, or try again.',
        outcome: Outcome.EVICTED_DEADLINE,
        retryAfterS: 1,
      };
    default:
      return {
        status: 503,
        code: 'queue_wait_exceeded',
        message: 'No replica had room for as long as a request may wait. Try again.',
        outcome: Outcome.EVICTED_DEADLINE,
        retryAfterS: 2,
      };
  }
}
