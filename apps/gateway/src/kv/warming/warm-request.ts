import { Agent, buildConnector } from 'undici';
import { secured } from '../../edge/upstream-tls.ts';
import type { FleetReplica } from '../../fleet/fleet.ts';
import type { HotPrefix } from './hot-prefixes.ts';
import type { WarmingLimits } from './limits.ts';

/** Of the prompt's tokens those that were there already; undefined where the engine does not say. */
export interface WarmAnswer {
  readonly status: number;
  readonly cachedTokens: number | undefined;
}

/** Has an engine compute a prefix. @throws where no answer came */
export interface WarmClient {
  compute(prefix: HotPrefix, signal: AbortSignal): Promise<WarmAnswer>;
  close(): Promise<void>;
}

/** The prefix as the prompt of a completion of one token: what the engine keeps of it is what is wanted. */
export function warmClient(replica: FleetReplica, limits: WarmingLimits): WarmClient {
  const agent = new Agent({ connections: 1, connect: buildConnector(secured(replica.trust)) });
  return {
    close: async () => await agent.destroy(),
    compute: async ({ model, adapter, cacheSalt, tokens }, signal) => {
      const answer = await agent.request({
        origin: replica.origin,
        path: '/v1/completions',
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          ...(replica.credential === undefined ? {} : { authorization: `Bearer ${replica.credential}` }),
          ...(replica.rank === undefined ? {} : { 'x-data-parallel-rank': String(replica.rank) }),
        },
        body: JSON.stringify({
          model: adapter === '' ? model : adapter,
          prompt: Array.from(tokens),
          max_tokens: 1,
          temperature: 0,
          ...(cacheSalt === '' ? {} : { cache_salt: cacheSalt }),
        }),
        signal,
      });
      const chunks: Buffer[] = [];
      let bytes = 0;
      for await (const chunk of answer.body as AsyncIterable<Buffer>) {
        if ((bytes += chunk.length) <= limits.answerBytesMax) chunks.push(chunk);
      }
      return { status: answer.statusCode, cachedTokens: cachedOf(Buffer.concat(chunks).toString()) };
    },
  };
}

function cachedOf(text: string): number | undefined {
  try {
    const { usage } = JSON.parse(text) as { usage?: { prompt_tokens_details?: { cached_tokens?: unknown } | null } };
    const cached = usage?.prompt_tokens_details?.cached_tokens;
    return typeof cached === 'number' && cached >= 0 ? cached : undefined;
  } catch {
    return undefined;
  }
}
