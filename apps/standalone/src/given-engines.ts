import type { ListAnswer, ReplicaItem } from '#libs/domain/diag';
import type { Environment } from '#libs/kernel';
import { errorText } from '#libs/kernel';

const answerMsMax = 10_000;
const askEveryMs = 200;
const askMsMax = 3_000;
const modelsShownMax = 4;

async function replicas(apiUrl: string, adminKey: string): Promise<readonly ReplicaItem[]> {
  const answer = await fetch(`${apiUrl}/api/v1/replicas`, {
    headers: { authorization: `Bearer ${adminKey}` },
    signal: AbortSignal.timeout(askMsMax),
  });
  return ((await answer.json()) as ListAnswer<ReplicaItem>).items;
}

/** One line of a person's for a replica: which engine it turned out to be and what it serves, or why it is not known. */
export function describeReplica({ url, engine, live }: Pick<ReplicaItem, 'url' | 'engine' | 'live'>): string {
  if (live === null || !live.healthy) return `${url}: no answer yet${live?.lastError ? ` (${live.lastError})` : ''}`;
  const shown = live.servedModels.slice(0, modelsShownMax).join(', ');
  const more = live.servedModels.length - modelsShownMax;
  return `${url}: ${engine || 'engine unknown'}, ${shown === '' ? 'no model' : shown}${more > 0 ? ` and ${more} more` : ''}`;
}

/** What the engines that a person gave turned out to be; waits, bounded, until each has answered. */
export async function describeGiven(
  urls: readonly string[],
  apiUrl: string,
  adminKey: string,
  { clock, timers }: Pick<Environment, 'clock' | 'timers'>,
): Promise<readonly string[]> {
  const untilMs = clock.monotonicMs() + answerMsMax;
  for (;;) {
    let found: readonly ReplicaItem[] = [];
    let problem = '';
    try {
      found = (await replicas(apiUrl, adminKey)).filter(({ url }) => urls.includes(url));
    } catch (error) {
      problem = errorText(error);
    }
    const known = found.filter(({ live }) => live?.healthy === true && live.servedModels.length > 0);
    if (known.length >= urls.length || clock.monotonicMs() > untilMs) {
      return problem === '' ? found.map(describeReplica) : [`not known yet: ${problem}`];
    }
    await timers.sleep(askEveryMs);
  }
}
