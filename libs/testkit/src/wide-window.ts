const edgeMs = 300_000;
const dayMs = 86_400_000;

/**
 * A window of limits that does not end while a test runs: the day, or the month where the day (UTC) is nearly over. In the last minutes of a
 * month there is none.
 */
export const wideWindow = (nowMs: number): 'day' | 'month' => (dayMs - (nowMs % dayMs) > edgeMs ? 'day' : 'month');
