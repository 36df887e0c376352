/** A time outside this window around the frame's storage is a broken clock's; the frame's own time stands in. */
const receivedBeforeStoredMsMax = 40 * 86_400_000;
const receivedAfterStoredMsMax = 86_400_000;

export const bootIdLengthMax = 64;

/** When a request was received, as far as that is believed. */
export function receivedAtMsOf(receivedAtMs: number, storedAtMs: number): number {
  const sinceStoredMs = receivedAtMs - storedAtMs;
  const plausible = -receivedBeforeStoredMsMax < sinceStoredMs && sinceStoredMs < receivedAfterStoredMsMax;
  return Math.trunc(plausible ? receivedAtMs : storedAtMs);
}
