import { route } from '#libs/contracts';
import type { Asker } from './asker.ts';
import type { Attempt } from './attempt.ts';
import type { Plane } from './plane.ts';
import type { Routed } from './routing.ts';

const { AttemptEnd, ReplicaRole } = route;

/** What an attempt that has ended teaches of its replica. */
export function land(plane: Plane, asker: Asker, where: Routed, attempt: Attempt, end: route.AttemptEnd): void {
  const { flight, httpStatus, continuedTokens, role } = attempt;
  const { usage } = asker.account;
  // Of an answer that was continued this replica gave only a part, and of a prompt computed for another nothing.
  const part = continuedTokens !== undefined || role === ReplicaRole.PREFILL;
  const whole = end === AttemptEnd.ANSWERED && httpStatus < 400 && !part;
  const { picks, metrics, hedging } = plane;
  if (where.plan.profile.hedge !== undefined) {
    if (end === AttemptEnd.HEDGE_LOST) hedging.observe(flight, asker.nowMs() - flight.startMs);
    else if (whole) hedging.observe(flight, flight.measuredTtftMs);
  }
  picks.signals.landed(
    flight,
    {
      whole,
      promptTokens: usage?.promptTokens ?? 0,
      outputTokens: usage?.completionTokens ?? 0,
      cachedTokens: usage?.fromEngine === true ? usage.cachedTokens : Number.NaN,
    },
    asker.nowMs(),
  );
  if (whole && where.exact !== undefined && usage?.fromEngine === true) {
    plane.kv?.landed(attempt.replica.id, flight.sent.cachedTokens, usage.cachedTokens);
  }
  if (!whole) return;
  asker.account.forecasts = flight;
  metrics.predicted(where.asked.model, flight);
}
