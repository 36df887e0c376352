import { route } from '#libs/contracts';
import type { Verdict } from './circuit.ts';

const { AttemptEnd } = route;

/** What an end says of the replica. A full engine is alive, and the load columns speak of it: no failure. */
export function verdictOf(end: route.AttemptEnd): Verdict {
  switch (end) {
    case AttemptEnd.ANSWERED:
      return 'success';
    case AttemptEnd.CONNECT_FAILED:
    case AttemptEnd.RESET:
    case AttemptEnd.SERVER_ERROR:
    case AttemptEnd.TIMEOUT:
    case AttemptEnd.BAD_ANSWER:
    case AttemptEnd.BROKEN_STREAM:
      return 'failure';
    case AttemptEnd.UNSPECIFIED:
    case AttemptEnd.OVERLOADED:
    case AttemptEnd.CLIENT_GONE:
    case AttemptEnd.TRANSFER_FAILED:
    case AttemptEnd.HEDGE_LOST:
      return 'neutral';
  }
}
