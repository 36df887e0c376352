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
}

const requestMsMax = 30_000;

async function request({ gatewayUrl, apiKey }: Lintel, index: number): Promise<Omit<Ending, 'endedAtMs'>> {
  let requestId = '';
  let begun = false;
  let text = '';
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
    if (answer.status !== 200) return { requestId, ok: false, begun, text: `${answer.status} ${await answer.text()}` };
    for await (const chunk of answer.body ?? []) {
      begun = true;
      text += Buffer.from(chunk as Uint8Array).toString();
    }
    const whole = index % 2 === 0 ? text.trimEnd().endsWith('data: [DONE]') : text.includes('"usage"');
    return { requestId, ok: whole && !text.includes('"error"'), begun, text };
  } catch (error) {
    return { requestId, ok: false, begun, text: `${String(error)} ${String((error as Error).cause ?? '')}` };
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
