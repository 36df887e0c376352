import type { Environment } from '#libs/kernel';

const readyMsMax = 30_000;
const askEveryMs = 50;
const askMsMax = 2_000;

/** Waits until the gateway says that it serves, bounded. Resolves to undefined, or to what it said last. */
export async function waitReady(
  url: string,
  { clock, timers }: Pick<Environment, 'clock' | 'timers'>,
  msMax = readyMsMax,
): Promise<string | undefined> {
  // Its certificate is for its clients; nobody says that this process trusts it.
  if (url.startsWith('https:')) return undefined;
  const untilMs = clock.monotonicMs() + msMax;
  for (;;) {
    let said: string;
    try {
      const answer = await fetch(`${url}/ready`, { signal: AbortSignal.timeout(askMsMax) });
      const text = await answer.text();
      if (answer.status === 200) return undefined;
      said = `${answer.status} ${text.slice(0, 300)}`;
    } catch {
      said = 'no answer';
    }
    if (clock.monotonicMs() > untilMs) return said;
    await timers.sleep(askEveryMs);
  }
}
