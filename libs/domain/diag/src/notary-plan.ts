export interface NotaryLimits {
  /** A seal covers at most this many commits. */
  readonly commitsMax: number;
  /** A commit waits at most this long for its seal. */
  readonly ageMsMax: number;
}

export interface NotaryPosition {
  /** End of the last seal. */
  readonly sealedSeq: number;
  /** End of the log. */
  readonly headSeq: number;
  /** When the first commit after the last seal was stored; undefined where there is none. */
  readonly oldestStoredAtMs: number | undefined;
  readonly nowMs: number;
}

/** Ends of the seals that are due, in order: full ones first, then what has waited long enough. */
export function planSeals(position: NotaryPosition, limits: NotaryLimits): number[] {
  const { sealedSeq, headSeq, oldestStoredAtMs, nowMs } = position;
  const ends: number[] = [];
  let end = sealedSeq;
  while (end + limits.commitsMax <= headSeq) ends.push((end += limits.commitsMax));
  const isOld = oldestStoredAtMs !== undefined && nowMs - oldestStoredAtMs >= limits.ageMsMax;
  if (end < headSeq && isOld) ends.push(headSeq);
  return ends;
}
