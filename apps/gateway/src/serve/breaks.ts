import { route } from '#libs/contracts';

const { Outcome } = route;

/** How a stream that had begun is said to have ended. */
export interface Break {
  readonly outcome: route.Outcome;
  readonly code: string;
  readonly text: string;
}

export const stopped: Break = {
  outcome: Outcome.EVICTED_DEADLINE,
  code: 'gateway_stopped',
  text: 'The gateway stopped before the answer was whole. Send the request again.',
};
export const brokenBy = (message: string): Break => ({
  outcome: Outcome.UPSTREAM_BROKEN,
  code: 'upstream_broken',
  text: `The replica failed after the answer had begun: ${message}. Send the request again.`,
});
