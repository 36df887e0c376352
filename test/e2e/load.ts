import { systemClock, systemTimers } from '#libs/kernel';
import type { Lintel } from './lintel-process.ts';

/** How one request ended for its client. */
export interface Ending {
  readonly requestId: string;
  readonly ok: boolean;
  /** True where the client had received a byte of the answer's body when it failed. */
  readonly begun: boolean;
  readonly text: string;
  readonly endedAtMs: number;
  /** From sent to the first byte of the answer's body; to the end where none came. */
  readonly firstByteMs: number;
}

const requestMsMax = 30_000;

async function request({ gatewayUrl, apiKey }: Lintel, index: number): Promise<Omit<Ending, 'endedAtMs'>> {
  let requestId = '';
  let begun = false;
  let text = '';
  const sentAtMs = systemClock.monotonicMs();
  let firstByteMs = Number.NaN;
  const tookMs = (): number => systemClock.monotonicMs() - sentAtMs;
  try {
    const answer = await fetch(`${gatewayUrl}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(apiKey === '' ? {} : { authorization: `Bearer ${apiKey}` }) },
      body: JSON.stringify({
        model: 'sim-8b',
        stream: index % 2 === 0,
        max_tokens: 8,
        messages: [{ role: 'user', content: `Request ${index}` }],
      }),
      signal: AbortSignal.timeout(requestMsMax),
    });
    requestId = answer.headers.get('x-lintel-request-id') ?? '';
    if (answer.status !== 200) {
      return { requestId, ok: false, begun, text: `${answer.status} ${await answer.text()}`, firstByteMs: tookMs() };
    }
    for await (const chunk of answer.body ?? []) {
      if (!begun) firstByteMs = tookMs();
      begun = true;
      text += Buffer.from(chunk as Uint8Array).toString();
    }
    const whole = index % 2 === 0 ? text.trimEnd().endsWith('data: [DONE]') : text.includes('"usage"');
    return { requestId, ok: whole && !text.includes('"error"'), begun, text, firstByteMs };
  } catch (error) {
    const why = `${String(error)} ${String((error as Error).cause ?? '')}`;
    return { requestId, ok: false, begun, text: why, firstByteMs: begun ? firstByteMs : tookMs() };
  }
}

/** Requests without a pause by `width` clients until `stop`, which answers how each ended. */
export function startLoad(lintel: Lintel, width: number): { readonly ended: readonly Ending[]; stop(): Promise<void> } {
  const ended: Ending[] = [];
  const stopping = new AbortController();
  let next = 0;
  const client = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      const ending = { ...(await request(lintel, next++)), endedAtMs: systemClock.monotonicMs() };
      ended.push(ending);
      // A refused request must not become a storm of refused requests.
      if (!ending.ok) await systemTimers.sleep(20);
    }
  };
  const clients = Array.from({ length: width }, client);
  return {
    ended,
    stop: async () => {
      stopping.abort();
      await Promise.all(clients);
    },
  };
}

const ratePeriodMs = 20;

/** So many requests each second, however long each takes, until `stop`, which waits for the last of them. */
export function startRate(
  lintel: Lintel,
  perSecond: number,
): { readonly ended: readonly (Ending & { readonly sentAtMs: number })[]; stop(): Promise<void> } {
  const ended: (Ending & { readonly sentAtMs: number })[] = [];
  const under = new Set<Promise<void>>();
  const startMs = systemClock.monotonicMs();
  let sent = 0;
  const timer = systemTimers.every(ratePeriodMs, () => {
    const due = ((systemClock.monotonicMs() - startMs) / 1000) * perSecond;
    for (; sent < due; sent++) {
      const sentAtMs = systemClock.monotonicMs();
      const one = request(lintel, sent).then((ending) => {
        ended.push({ ...ending, endedAtMs: systemClock.monotonicMs(), sentAtMs });
        under.delete(one);
      });
      under.add(one);
    }
  });
  return {
    ended,
    stop: async () => {
      timer.cancel();
      await Promise.all(under);
    },
  };
}
